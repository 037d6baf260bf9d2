import bottle
from shared import greeting

app = bottle.Bottle()


@app.get("/")
def index():
    return greeting("web")
