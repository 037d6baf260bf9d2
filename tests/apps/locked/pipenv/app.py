import bottle

app = bottle.Bottle()


@app.route("/")
def version():
    return {"bottle": bottle.__version__}
