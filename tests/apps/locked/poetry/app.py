import falcon


class Version:
    def on_get(self, request, response):
        response.media = {"falcon": falcon.__version__}


app = falcon.App()
app.add_route("/", Version())
