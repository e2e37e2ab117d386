"""What the settings asked of an analyser, each time that they asked something else."""

from dataclasses import asdict
from typing import Literal

from fastapi import Request

from api.access import needs
from api.answers import shown
from api.error_responses import answers
from api.late_routes import late_router
from api.services import services
from schemas import Shape, ShownTime

router = late_router(tags=["operations"])


class AnalysisVersionOut(Shape):
    """`insights` bear the version now. `prompt_version` is empty and `temperature` null where the
    analyser has none. The `active` one is given to what is analysed now."""

    version: int
    analyser: str
    model: str
    prompt_version: str
    temperature: float | None
    clusters_mode: Literal["open", "closed"]
    clusters: tuple[str, ...]
    first_used: ShownTime
    last_used: ShownTime
    insights: int
    active: bool


@router.get("/api/v1/analysis-versions", responses=answers("unavailable"))
@needs("read")
async def list_analysis_versions(request: Request) -> list[AnalysisVersionOut]:
    """The newest first. A change of analyser, model, prompt, temperature or topics makes a new
    version at the next start."""
    found = await services(request).versions.all()
    return [shown(AnalysisVersionOut, each, **asdict(each.asked)) for each in found]
