"""Orders and reports, by the cases in `tests/orders`, which the command line's tests read as well."""

import json

import pytest
from machine import AGENT

from orders.orders import parse_orders
from orders.report import ErrorCode, Phase, ProxyPhase, ProxyReport, Report

FIELDS = ("release", "token", "attempt", "secrets", "references", "data", "address")


def cases(name):
    found = json.loads((AGENT.parent / "tests/orders" / name).read_text())
    return [pytest.param(case, id=case["name"]) for case in found]


def parsed(tags):
    prefix = "devopsctl:"
    return parse_orders({name[len(prefix) :]: value for name, value in tags.items() if name.startswith(prefix)})


@pytest.mark.parametrize("case", cases("written.json") + cases("read.json"))
def test_tags_become_orders(case):
    orders, refused = parsed(case["tags"])
    assert {name: getattr(orders, name) for name in FIELDS} == {name: case["orders"].get(name) for name in FIELDS}
    assert list(refused) == case.get("refused", [])


@pytest.mark.parametrize("case", [each for each in cases("reports.json") if "said" in each.values[0]])
def test_a_report_has_the_form_that_the_command_line_reads(case):
    said = dict(case["said"])
    proxy = said.pop("proxy", None)
    if proxy:
        proxy = ProxyReport(**{**proxy, "phase": ProxyPhase(proxy["phase"]), "code": code(proxy)})
    report = Report(parsed(case["tags"])[0], **{**said, "phase": Phase(said["phase"]), "code": code(said)}, proxy=proxy)
    assert json.loads(json.dumps(report.document())) == case["report"]


def code(said):
    return said.get("code") and ErrorCode(said["code"])
