import asyncio
from contextlib import asynccontextmanager

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

STATION = "Harbour"


@asynccontextmanager
async def lifespan(app):
    yield {"station": STATION}
    print("stopped", STATION, flush=True)


async def index(request):
    return HTMLResponse(f"<h1>{request.state.station}</h1><script>new EventSource('/tides')</script>")


async def tides(request):
    async def measure():
        last = int(request.headers.get("Last-Event-ID", 0))
        while True:
            last += 1
            yield {"id": str(last), "event": "tide", "data": f"{request.state.station} {last}"}
            await asyncio.sleep(0.1)

    return EventSourceResponse(measure())


app = Starlette(routes=[Route("/", index), Route("/tides", tides)], lifespan=lifespan)
