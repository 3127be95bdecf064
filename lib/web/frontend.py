"""What Streamlit's frontend gets from us instead: its settings as a host."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.ui.parts.links import own_path

# Streamlit's own answer, but for one value: its dialogs tell a visitor to run "streamlit run yourscript.py".
# browser.js says what happened instead.
HOST_CONFIG = {
    "allowedOrigins": [],
    "useExternalAuthToken": False,
    "enableCustomParentMessages": False,
    "enforceDownloadInNewTab": False,
    "metricsUrl": "",
    "blockErrorDialogs": True,
    "resourceCrossOriginMode": None,
}


class Frontend:
    """Stands between the guard and Streamlit, whose own paths cannot be routes of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == own_path("/_stcore/host-config"):
            answer = JSONResponse(HOST_CONFIG, headers={"Cache-Control": "no-cache"})
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)
