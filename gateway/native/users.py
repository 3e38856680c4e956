"""``/v1/users``: users, who sign in with a name and a password."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.operations.access import check_changes, check_user, create_user
from broker.operations.answers import render_user
from broker.schemas.access import UserChanges, UserPage, UserRequest, UserSchema
from broker.store.administration.users import UserStore
from broker.store.postgres.database import Conflict
from gateway.answer_headers import LOCATION
from gateway.answers import answer, created
from gateway.bodies import read_document
from gateway.http_errors import Conflicting, NotFound
from gateway.native.queries import AFTER_ID, LIMIT, integer, limit, next_of
from gateway.passwords import Passwords
from gateway.paths import path_id
from gateway.routes import Route, SecuredRoute


class UsersApi:
    """Creates, lists, shows, changes and deletes users."""

    def __init__(self, users: UserStore, passwords: Passwords) -> None:
        self._users = users
        self._passwords = passwords

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        every, one = "/v1/users", "/v1/users/{id}"
        needed = (Permission.ADMIN,)
        return [
            SecuredRoute(
                "POST",
                every,
                self.create,
                "Create a user",
                {201: UserSchema},
                UserRequest,
                permissions=needed,
                refusals=(409,),
                headers={201: (LOCATION,)},
            ),
            SecuredRoute(
                "GET",
                every,
                self.list,
                "List users",
                {200: UserPage},
                parameters=(AFTER_ID, LIMIT),
                permissions=needed,
            ),
            SecuredRoute("GET", one, self.get, "Show a user", {200: UserSchema}, permissions=needed),
            SecuredRoute(
                "PATCH", one, self.change, "Change a user", {200: UserSchema}, UserChanges, permissions=needed
            ),
            SecuredRoute("DELETE", one, self.delete, "Delete a user", {204: None}, permissions=needed),
        ]

    async def create(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 201 with the user; 409 if there is a user of that name."""
        wanted = await read_document(request, UserRequest)
        check_user(wanted)
        try:
            user = await create_user(self._users, wanted, await self._passwords.hash(wanted.password), by=principal)
        except Conflict:
            raise Conflicting(f"There is a user {wanted.name!r} already.") from None
        return created(render_user(user), f"/v1/users/{user.id}")

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the users that reach no further than the caller."""
        page = await self._users.page(after_id=integer(request, "afterId", 0), limit=limit(request), by=principal)
        return answer(UserPage(items=[render_user(user) for user in page.items], next=next_of(page.next)))

    async def get(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer one user."""
        user_id = path_id(request, "user")
        user = await self._users.get(user_id, by=principal)
        if user is None:
            raise _missing(user_id)
        return answer(render_user(user))

    async def change(self, request: web.Request, principal: Principal) -> web.Response:
        """Change what the body mentions; every gateway knows it at once."""
        user_id = path_id(request, "user")
        wanted = await read_document(request, UserChanges)
        check_changes(wanted)
        changes = wanted.model_dump(exclude_unset=True)
        if "password" in changes:
            changes["password"] = await self._passwords.hash(wanted.password)
        user = await self._users.update(user_id, changes, by=principal)
        if user is None:
            raise _missing(user_id)
        return answer(render_user(user))

    async def delete(self, request: web.Request, principal: Principal) -> web.Response:
        """Delete a user: every gateway refuses its credentials from now on."""
        user_id = path_id(request, "user")
        if not await self._users.delete(user_id, by=principal):
            raise _missing(user_id)
        return web.Response(status=204)


def _missing(user_id: int) -> NotFound:
    return NotFound(f"There is no user {user_id}.")
