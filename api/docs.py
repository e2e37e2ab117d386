"""The API's documentation to read and to try, by addresses that hold under any path."""

import re
from base64 import b64encode
from hashlib import sha256

from fastapi import Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response

from api.access import open_to_all
from api.late_routes import late_router

router = late_router(include_in_schema=False)

FILES = "static-offline-docs"
_INLINE_SCRIPT = re.compile(r"<script(?: type=\"?[\w/]+\"?)?>(.+?)</script>", re.DOTALL)


@router.head("/docs")
@router.get("/docs")
@open_to_all()
async def swagger_ui(request: Request) -> Response:
    """With a policy that lets the page's own scripts run, and no others. Swagger UI puts styles
    into the page."""
    made = get_swagger_ui_html(
        openapi_url="./openapi.json",
        title=request.app.title,
        swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES}/swagger-ui.css",
        swagger_favicon_url=f"{FILES}/favicon.png",
    )
    html = bytes(made.body).decode()
    hashes = (
        b64encode(sha256(it.encode()).digest()).decode() for it in _INLINE_SCRIPT.findall(html)
    )
    scripts = " ".join(["'self'", *(f"'sha256-{it}'" for it in hashes)])
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        html, headers={"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
    )
