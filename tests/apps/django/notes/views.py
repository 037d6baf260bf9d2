import asyncio

from django.http import StreamingHttpResponse
from django.shortcuts import render

from .models import Note


def index(request):
    return render(request, "notes/index.html", {"notes": Note.objects.all()})


def events(request):
    """Each note as an event; needs ASGI."""

    async def stream():
        async for note in Note.objects.all():
            yield f"data: {note}\n\n"
        while True:
            await asyncio.sleep(0.2)
            yield ": still here\n\n"

    return StreamingHttpResponse(stream(), content_type="text/event-stream")
