from dash import Dash, Input, Output, callback, dcc, html

TOTALS = {"north": 12, "south": 7}

app = Dash(__name__, title="Sales")
server = app.server
app.layout = html.Div(
    [
        html.H1("Sales"),
        dcc.Dropdown(list(TOTALS), "north", id="region"),
        html.P(id="total"),
    ]
)


@callback(Output("total", "children"), Input("region", "value"))
def total(region):
    return f"{region}: {TOTALS[region]}"


if __name__ == "__main__":
    app.run(debug=True)
