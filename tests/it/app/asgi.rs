//! An ASGI app: FastAPI with a start-up and a WebSocket, from `init` to a version that does not start.

use crate::http::get;
use crate::load_clients::LoadClients;
use crate::project::Project;
use crate::websocket::WebSocket;

const APP: &str = "import asyncio
import os
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect


@asynccontextmanager
async def lifespan(app):
    yield {'greeting': 'Welcome'}


app = FastAPI(lifespan=lifespan)


def known(connection):
    return connection.headers.get('Authorization') == 'Token ' + os.environ['SHOP_TOKEN']


@app.get('/')
async def index(request: Request):
    if not known(request):
        raise HTTPException(401)
    loop = type(asyncio.get_running_loop()).__module__
    by = f'{loop} and uvicorn {uvicorn.__version__}'
    return f'{request.state.greeting} from {request.client.host} over {request.url.scheme} by {by}'


@app.websocket('/echo')
async def echo(socket: WebSocket):
    if not known(socket):
        return await socket.close()
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text() + '!')
    except WebSocketDisconnect as end:
        print('disconnected', end.code, flush=True)
";

#[test]
#[ignore = "slow"]
fn a_fastapi_app_is_served_and_changes_without_a_lost_request() {
    let project = Project::empty();
    project.file("main.py", APP).file("requirements.txt", "fastapi\n");
    let found = project.run("init --name shop --yes").ok();
    assert!(
        found.stderr.contains("FastAPI, main.py:14 → main:app") && !found.stderr.contains("warning"),
        "{}",
        found.shown()
    );
    let url = project.up();
    let token = project.token();
    assert_eq!(get(&url, None).status, 401);
    assert_eq!(get(&url, Some(&token)).body, "\"Welcome from 127.0.0.1 over http by uvloop and uvicorn 0.54.0\"");
    let (status, mut socket) = WebSocket::open(&url, "/echo", &token);
    assert_eq!((status.as_str(), socket.ask("hello").as_str()), ("101", "hello!"));
    assert_eq!(WebSocket::open(&url, "/echo", "another-token-than-that").0, "403");

    let clients = LoadClients::start(3, &url, &token, &[200, 401]);
    let newer = LoadClients::start(3, &url, "the-second-token", &[200, 401]);
    project.run_with("set-token --sandbox --stdin", "the-second-token").ok();
    assert_eq!(socket.frame(), (8, 1012_u16.to_be_bytes().to_vec()), "the WebSocket is told to connect again");
    assert!(clients.end(20) > 0 && newer.end(20) > 0);
    assert_eq!((get(&url, Some(&token)).status, get(&url, Some("the-second-token")).status), (401, 200));
    let (_, mut socket) = WebSocket::open(&url, "/echo", "the-second-token");
    assert_eq!(socket.ask("again"), "again!");
    assert!(project.ok("logs --sandbox").contains("disconnected 1012"));

    project.file("main.py", &APP.replace("    yield {", "    raise RuntimeError('no database')\n    yield {"));
    let ran = project.run("up --sandbox").code(4).says("the app's start-up failed: RuntimeError: no database");
    assert!(ran.stderr.contains("main.py\", line 11, in lifespan"), "{}", ran.shown());
    assert_eq!(get(&url, Some("the-second-token")).status, 200);
    assert_eq!(socket.ask("still"), "still!", "nothing has changed for its client");

    // The app requires another version of uvicorn, of what uvicorn needs, and one that is too old.
    let by = || get(&url, Some("the-second-token")).body.split(" by ").nth(1).unwrap_or_default().to_owned();
    project.file("main.py", APP).file("requirements.txt", "fastapi\nuvicorn[standard]==0.30.6\n").up();
    assert_eq!(by(), "uvloop and uvicorn 0.30.6\"");
    project.file("requirements.txt", "fastapi\nwebsockets==12.0\n").up();
    assert_eq!(by(), "uvloop and uvicorn 0.50.1\"");
    let (_, mut socket) = WebSocket::open(&url, "/echo", "the-second-token");
    assert_eq!(socket.ask("older"), "older!");
    project.file("requirements.txt", "fastapi\nuvicorn==0.17.6\n");
    project.run("up --sandbox").code(2).says("devopsctl needs uvicorn 0.23 or newer").says("replace `uvicorn==0.17.6`");
}
