"""docs/deploy.schema.json accepts the same deploy.yaml as devopsctl.

The schema can miss errors that only the parser can find, such as a missing folder. It never rejects a valid file.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCHEMA = REPOSITORY / "docs" / "deploy.schema.json"
DEVOPSCTL = os.environ.get("DEVOPSCTL", "devopsctl")
LEAST = "name: shop\napp: {path: app}\n"

GOOD = {
    "least": LEAST,
    "empty sections": LEAST + "token:\ninstance:\nnetwork:\nhealth:\ntags:\n",
    "plain http": LEAST + "network: {https: off, port: 8080}\n",
    "a switch": LEAST + "network: {https: true}\n",
    "numbers in env": "name: shop\napp: {path: app, env: {A: 1, B: 1.5, C: 'true', D: ''}}\n",
    "addresses": LEAST + "network: {allow: [203.0.113.0/24, '2001:db8::/32', 10.1.2.3/8]}\n",
    "factory": "name: shop\napp: {path: app, web: 'shop.web:create_app()'}\n",
    "an earlier name": "name: shop\napp: {path: app, wsgi: 'shop.wsgi:application'}\n",
    "secrets": "name: shop\napp: {path: app, secrets: [DATABASE_URL, {SESSION_KEY: generate}]}\n",
    "references": "name: shop\napp:\n  path: app\n  secrets:\n    - A: ssm:/a/b\n    - B: secretsmanager:rds!x#p\n"
    "    - C: secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCd12\n",
    "no secrets": "name: shop\napp: {path: app, secrets: }\n",
    "static files": "name: shop\napp: {path: app, static: {/: dist, /a.b/c_d~-e: out/files}}\n",
    "open static files": "name: shop\napp: {path: app, static: {/s: out}}\ntoken: {open: [/s/a, /s/b/*]}\n",
    "data": LEAST + "data: {path: /srv/app_1/db.d, gib: 16384}\n",
    "no data": LEAST + "data:\n",
    "a schedule": LEAST
    + "schedule: {nightly: {cron: 15 3 * jan-jun/2 mon-fri, run: x}, h-1: {cron: '@hourly', run: z}}\n",
    "all of a schedule": LEAST + "schedule: {a: {cron: '*/5 1,2 * * 7', run: x, timeout: 86400, catch_up: true}}\n",
    "no schedule": LEAST + "schedule:\n",
    "tags": LEAST + "tags: {team: web, 'cost:centre': '12', who: 'Zoë +-=._:/@'}\n",
    "files that are meant": "name: shop\napp: {path: app, include: [.env.public, certs/client.key]}\n",
    "most": "name: shop\napp: {path: app, workers: 64, threads: 256}\ninstance: {disk_gib: 16384}\n",
}

WRONG = {
    "no name": "app: {path: app}\n",
    "no app": "name: shop\n",
    "no path": "name: shop\napp: {}\n",
    "an unknown key": LEAST + "regoin: eu-central-1\n",
    "an unknown key below": "name: shop\napp: {path: app, worker: 2}\n",
    "a name": "name: Shop_1\napp: {path: app}\n",
    "a long name": f"name: {'a' * 32}\napp: {{path: app}}\n",
    "a region": LEAST + "region: Frankfurt\n",
    "an app that is text": "name: shop\napp: app\n",
    "no callable": "name: shop\napp: {path: app, web: app.py}\n",
    "no callable by its earlier name": "name: shop\napp: {path: app, wsgi: app.py}\n",
    "too few": "name: shop\napp: {path: app, workers: 0}\n",
    "too many": "name: shop\napp: {path: app, threads: 257}\n",
    "an include that is text": "name: shop\napp: {path: app, include: a.key}\n",
    "an include elsewhere": "name: shop\napp: {path: app, include: [/etc/a.key]}\n",
    "builds by name": "name: shop\napp: {path: app, build_dependencies: [flask]}\n",
    "a number in quotes": LEAST + "network: {https: off, port: '80'}\n",
    "half a worker": "name: shop\napp: {path: app, workers: 1.5}\n",
    "a variable": "name: shop\napp: {path: app, env: {2FAST: x}}\n",
    "true in env": "name: shop\napp: {path: app, env: {DEBUG: true}}\n",
    "a list in env": "name: shop\napp: {path: app, env: {A: [1]}}\n",
    "no for false": LEAST + "token: {open_preflight: 'no'}\n",
    "a secret": "name: shop\napp: {path: app, secrets: [2FAST]}\n",
    "a secret with a value": "name: shop\napp: {path: app, secrets: [{A: b}]}\n",
    "a reference to nothing": "name: shop\napp: {path: app, secrets: [{A: 'ssm:'}]}\n",
    "a reference to another service": "name: shop\napp: {path: app, secrets: [{A: vault:/a}]}\n",
    "two secrets in one": "name: shop\napp: {path: app, secrets: [{A: generate, B: generate}]}\n",
    "secrets as a map": "name: shop\napp: {path: app, secrets: {A: generate}}\n",
    "a prefix": "name: shop\napp: {path: app, static: {static: files}}\n",
    "a prefix with a slash": "name: shop\napp: {path: app, static: {/static/: files}}\n",
    "a hidden prefix": "name: shop\napp: {path: app, static: {/.git: files}}\n",
    "a prefix of several": "name: shop\napp: {path: app, static: {/static: [files]}}\n",
    "a schedule's name": LEAST + "schedule: {Nightly: {cron: 15 3 * * *, run: x}}\n",
    "a schedule's long name": LEAST + f"schedule: {{{'a' * 21}: {{cron: 15 3 * * *, run: x}}}}\n",
    "a schedule without times": LEAST + "schedule: {a: {run: x}}\n",
    "a schedule without a command": LEAST + "schedule: {a: {cron: 15 3 * * *, run: ''}}\n",
    "a schedule with seconds": LEAST + "schedule: {a: {cron: 0 15 3 * * *, run: x}}\n",
    "a schedule with a word": LEAST + "schedule: {a: {cron: 15 3 L * *, run: x}}\n",
    "a schedule that is text": LEAST + "schedule: {a: 15 3 * * *}\n",
    "a long run": LEAST + "schedule: {a: {cron: 15 3 * * *, run: x, timeout: 86401}}\n",
    "many schedules": LEAST + f"schedule: {{{', '.join(f'a{n}: {{cron: 15 3 * * *, run: x}}' for n in range(9))}}}\n",
    "half a path": LEAST + "health: {path: healthz}\n",
    "two slashes": LEAST + "token: {path: //evil}\n",
    "a fragment": LEAST + "health: {path: '/a#b'}\n",
    "a type": LEAST + "instance: {type: large}\n",
    "an image": LEAST + "instance: {image: windows-95}\n",
    "a small disk": LEAST + "instance: {disk_gib: 4}\n",
    "data without a folder": LEAST + "data: {gib: 10}\n",
    "data in half a path": LEAST + "data: {path: data}\n",
    "data in a hidden folder": LEAST + "data: {path: /srv/.data}\n",
    "no data in it": LEAST + "data: {path: /data, gib: 0}\n",
    "https": LEAST + "network: {https: 'no'}\n",
    "localhost": LEAST + "network: {domain: localhost}\n",
    "dns": LEAST + "network: {domain: a.example.com, dns: bind}\n",
    "clear http": LEAST + "network: {acme_directory: http://ca.example.com}\n",
    "one address": LEAST + "network: {allow: [203.0.113.7]}\n",
    "no list": LEAST + "network: {allow: 0.0.0.0/0}\n",
    "a boundary": LEAST + "permissions_boundary: arn:aws:iam::1234:policy/x\n",
    "a subnet": LEAST + "network: {subnet: vpc-0123456789abcdef0}\n",
    "a limit": LEAST + "network: {limits: {body_mb: 0}}\n",
    "a slow limit": LEAST + "network: {limits: {idle_seconds: 3601}}\n",
    "a long timeout": LEAST + "health: {timeout: 601}\n",
    "a tag's key": LEAST + "tags: {cost centre: web}\n",
    "a number in a tag": LEAST + "tags: {floor: 12}\n",
    "a long tag": LEAST + f"tags: {{team: {'a' * 257}}}\n",
}


def read(file):
    """Whether the parser accepts the file. `cost` reads it and makes no calls."""
    command = [DEVOPSCTL, "cost", "--region", "us-east-1", "--file", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode in (0, 2), ran.stderr
    return ran.returncode == 0


def complaints(schema, *files):
    """The errors of a JSON schema validator by file."""
    command = [sys.executable, "-m", "check_jsonschema", "--output-format", "json", *schema, *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True)
    said = json.loads(ran.stdout)
    assert not said.get("parse_errors"), said
    found = {}
    for error in said.get("errors", []):
        found.setdefault(Path(error["filename"]), []).append(f"{error['path']}: {error['message']}")
    return found


def written(folder, texts):
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "requirements.txt").write_text("flask\n")
    (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    files = {}
    for name, text in texts.items():
        files[name] = folder / (re.sub(r"\W", "-", name) + ".yaml")
        files[name].write_text(text)
    return files


def uncommented(text):
    """The text with its commented keys. They are commented in a way that a user can enable them."""
    return re.sub(r"(?m)^(\s*)# ( *\w+:(?: |$).*)$", r"\1\2", text.replace("#   - ", "# - "))


def keys(schema, above=""):
    for key, value in schema["properties"].items():
        if value.get("deprecated"):
            continue
        below = list(keys(value, f"{above}{key}.")) if "properties" in value else [above + key]
        yield from below


def test_both_accept_valid_files(tmp_path):
    files = written(tmp_path, GOOD)
    assert {name for name, file in files.items() if not read(file)} == set()
    assert complaints(["--schemafile", SCHEMA], *files.values()) == {}


def test_both_reject_invalid_files(tmp_path):
    files = written(tmp_path, WRONG)
    assert {name for name, file in files.items() if read(file)} == set()
    found = complaints(["--schemafile", SCHEMA], *files.values())
    assert {name for name, file in files.items() if file not in found} == set()


def test_the_example_is_valid_and_contains_every_key(tmp_path):
    text = (REPOSITORY / "deploy.yaml").read_text()
    files = written(tmp_path, {"as it is": text, "with all": uncommented(text)})
    assert all(map(read, files.values()))
    assert complaints(["--schemafile", SCHEMA], *files.values()) == {}
    shown = files["with all"].read_text()
    for key in keys(json.loads(SCHEMA.read_text())):
        assert re.search(rf"(?m)^[^#\n]*\b{key.split('.')[-1]}:", shown), key


@pytest.mark.parametrize(
    "files",
    [
        {"app.py": "from flask import Flask\napp = Flask(__name__)\n", "requirements.txt": "flask\n"},
        {"manage.py": "", "site/wsgi.py": "from django.core.wsgi import get_wsgi_application\n"
         "application = get_wsgi_application()\n", "Pipfile": ""},
        {"web/__init__.py": "import os\nfrom flask import Flask\ndef create_app():\n    app = Flask(__name__)\n"
         "    key = os.environ['API_TOKEN']\n    @app.get('/healthz')\n    def healthz():\n        return 'ok'\n"
         "    return app\n", "pyproject.toml": "[project]\nname='web'\nrequires-python='>=3.12'\n"},
    ],
    ids=["flask", "django", "factory"],
)  # fmt: skip
def test_the_output_of_init_is_valid(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [DEVOPSCTL, "init", "--yes", "--name", "shop"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    file = tmp_path / "deploy.yaml"
    assert read(file)
    assert complaints(["--schemafile", SCHEMA], file) == {}


def test_the_schema_is_valid_and_equals_the_commands_output():
    assert complaints(["--check-metaschema"], SCHEMA) == {}
    assert subprocess.run([DEVOPSCTL, "schema"], check=True, capture_output=True).stdout == SCHEMA.read_bytes()


def test_the_workflows_are_valid_for_github():
    files = [*REPOSITORY.glob(".github/workflows/*.yml"), *REPOSITORY.glob("examples/**/*.yml")]
    assert len(files) >= 2
    assert complaints(["--builtin-schema", "vendor.github-workflows"], *files) == {}
