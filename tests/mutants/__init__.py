"""Mutation testing: whether the unit tests notice small changes of the domain.

Our own few lines, because the tools there are (mutmut, cosmic-ray, poodle, pytest-gremlins) do not sample by a seed;
they also start a pytest for each change or edit the files in place, or leave out what stands outside of functions.

changes    what can be changed in a module
modules    in which modules
trials     which tests notice it
"""
