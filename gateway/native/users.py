"""``/v1/users``: who signs in with a name and a password."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.settings import Settings
from broker.store.administration.users import UserStore
from broker.store.postgres.database import Conflict
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.http_errors import Conflicting, NotFound
from gateway.native.answers import render_user
from gateway.native.requests import checked_changes, checked_user
from gateway.passwords import Passwords
from gateway.queries import AFTER_ID, LIMIT, integer, limit, path_id
from gateway.routes import Route
from gateway.schemas.access import UserChanges, UserPage, UserRequest, UserSchema


class UsersApi:
    """Creates, lists, shows, changes and deletes users. For administrators."""

    def __init__(self, users: UserStore, passwords: Passwords, auth: Authenticator, settings: Settings) -> None:
        self._users = users
        self._passwords = passwords
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route("POST", "/v1/users", self.create, "Create a user", {201: UserSchema}, UserRequest),
            Route("GET", "/v1/users", self.list, "List users", {200: UserPage}, parameters=(AFTER_ID, LIMIT)),
            Route("GET", "/v1/users/{id}", self.get, "Show a user", {200: UserSchema}),
            Route("PATCH", "/v1/users/{id}", self.change, "Change a user", {200: UserSchema}, UserChanges),
            Route("DELETE", "/v1/users/{id}", self.delete, "Delete a user", {204: None}),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Answer 201 with the user; 409 if there is one of that name."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.ADMIN)
        wanted = checked_user(parse(UserRequest, await read_json(request, self._settings.max_body_bytes)))
        try:
            user = await self._users.create(
                name=wanted.name,
                password=await self._passwords.hash(wanted.password),
                permissions=[Permission(permission) for permission in wanted.permissions],
                names=wanted.names,
                tenants=wanted.tenants,
                groups=wanted.groups,
                by=principal,
            )
        except Conflict:
            raise Conflicting(f"There is a user {wanted.name!r} already.") from None
        return web.Response(
            body=dump(render_user(user)),
            status=201,
            headers={"Location": f"/v1/users/{user.id}"},
            content_type="application/json",
        )

    async def list(self, request: web.Request) -> web.Response:
        """Answer a page of the users."""
        demand(await self._auth.principal(request), Permission.ADMIN)
        size = limit(request)
        users = await self._users.page(after_id=integer(request, "afterId", 0), limit=size)
        page = UserPage(
            items=[render_user(user) for user in users], next=str(users[-1].id) if len(users) == size else None
        )
        return web.Response(body=dump(page), content_type="application/json")

    async def get(self, request: web.Request) -> web.Response:
        """Answer one user."""
        demand(await self._auth.principal(request), Permission.ADMIN)
        user_id = path_id(request, "user")
        user = await self._users.get(user_id)
        if user is None:
            raise NotFound(f"There is no user {user_id}.")
        return web.Response(body=dump(render_user(user)), content_type="application/json")

    async def change(self, request: web.Request) -> web.Response:
        """Change what the body mentions; every gateway knows at once."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.ADMIN)
        user_id = path_id(request, "user")
        wanted = checked_changes(parse(UserChanges, await read_json(request, self._settings.max_body_bytes)))
        changes = wanted.model_dump(exclude_unset=True)
        if "password" in changes:
            changes["password"] = await self._passwords.hash(wanted.password)
        user = await self._users.update(user_id, changes, by=principal)
        if user is None:
            raise NotFound(f"There is no user {user_id}.")
        return web.Response(body=dump(render_user(user)), content_type="application/json")

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a user, who is refused by every gateway from now on."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.ADMIN)
        user_id = path_id(request, "user")
        if not await self._users.delete(user_id, by=principal):
            raise NotFound(f"There is no user {user_id}.")
        return web.Response(status=204)
