"""The agent's signature equals botocore's for any request that the agent might send."""

import datetime
import urllib.parse

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from boot import aws

NOW = datetime.datetime(2026, 11, 24, 12, 34, 56, tzinfo=datetime.timezone.utc).timestamp()

key = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
)
keys = st.lists(st.one_of(key, st.sampled_from(["a b", "+/=~", "ü", "%41", "..."])), min_size=1, max_size=4)
secret = st.text("abcABC019+/", min_size=16, max_size=40)
body = st.one_of(st.just(b""), st.binary(max_size=300), st.just(b"x" * 2_000_000))
credentials = st.fixed_dictionaries(
    {"AccessKeyId": st.text("ABC123", min_size=16, max_size=20), "SecretAccessKey": secret},
    optional={"Token": st.text("abc+/=", min_size=1, max_size=200)},
)


def theirs(signer, service, method, url, headers, body, keys, stamp):
    request = AWSRequest(method, url, dict(headers), body)
    held = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys.get("Token"))
    auth = signer(held, service, "eu-central-1")
    request.context["timestamp"] = stamp
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    return signature, auth.signed_headers(auth.headers_to_sign(request))


def same(signer, service, method, url, headers, body, keys):
    ours = aws.sign(keys, service, "eu-central-1", method, url, headers, body, NOW)
    stamp = "20261124T123456Z"
    assert ours["X-Amz-Date"] == stamp
    signed = {
        name: value for name, value in ours.items() if name not in ("Authorization", "X-Amz-Security-Token", "Host")
    }
    signature, names = theirs(signer, service, method, url, signed, body, keys, stamp)
    assert f"SignedHeaders={names}," in ours["Authorization"]
    assert ours["Authorization"].endswith(f"Signature={signature}")


@settings(max_examples=200, deadline=None)
@given(credentials, keys, body)
def test_s3(keys, parts, body):
    url = "https://bucket.s3.eu-central-1.amazonaws.com/" + urllib.parse.quote("/".join(parts), safe="/~")
    same(
        S3SigV4Auth,
        "s3",
        "GET" if not body else "PUT",
        url,
        {"x-amz-expected-bucket-owner": "123456789012"},
        body,
        keys,
    )


@settings(max_examples=200, deadline=None)
@given(credentials, body, st.text("abc  \t", max_size=20))
def test_json_services(keys, body, spaces):
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter", "X-Note": spaces}
    same(SigV4Auth, "ssm", "POST", "https://ssm.eu-central-1.amazonaws.com/", headers, body, keys)


def test_a_url_with_a_port_is_signed_with_it():
    keys = {"AccessKeyId": "A" * 16, "SecretAccessKey": "b" * 20}
    same(SigV4Auth, "ssm", "POST", "http://127.0.0.1:4566/", {}, b"{}", keys)
