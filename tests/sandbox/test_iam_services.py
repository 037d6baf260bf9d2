"""IAM in the sandbox: parameters, buckets and DNS records, and the log of used permissions."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import OURS, USER, granted, permission_log, refused, until

# SSM and S3


def test_parameters_of_others_are_refused(cli, ssm):
    mine = cli("ssm")
    ssm.put_parameter(Name="/other/token", Type="String", Value="x")
    mine.put_parameter(Name="/devopsctl/a/token", Type="SecureString", Value="x", Tags=OURS)
    assert mine.get_parameter(Name="/devopsctl/a/token")["Parameter"]["Version"] == 1
    for call, arguments in (
        (mine.get_parameter, {"Name": "/other/token"}),
        (mine.get_parameters, {"Names": ["/devopsctl/a/token", "/other/token"]}),
        (mine.put_parameter, {"Name": "/other/new", "Type": "String", "Value": "x"}),
        (mine.get_parameters_by_path, {"Path": "/"}),
        (mine.delete_parameter, {"Name": "/other/token"}),
        (mine.delete_parameters, {"Names": ["/devopsctl/a/token", "/other/token"]}),
    ):
        code, message = refused(call, **arguments)
        assert code == "AccessDeniedException" and f"User: {USER} is not authorized" in message


def test_a_bucket_policy_can_deny_everyone(s3):
    """It also denies the administrator, who has all other permissions."""
    bucket = "devopsctl-of-a-policy"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for key in ("hello/certificates.json", "hello/other.json"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*/c*"}
    roles = "arn:aws:iam::123456789012:role/devopsctl-*"
    deny["Condition"] = {"StringNotLike": {"aws:PrincipalArn": roles}}
    clear = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    clear["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}
    policy = {"Version": "2012-10-17", "Statement": [deny, clear]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    code, message = refused(s3.get_object, Bucket=bucket, Key="hello/certificates.json")
    assert code == "AccessDenied" and "resource-based policy" in message
    assert s3.get_object(Bucket=bucket, Key="hello/other.json")["Body"].read() == b"x"
    s3.put_object(Bucket=bucket, Key="hello/certificates.json", Body=b"y")


def test_buckets_of_other_accounts_are_refused(cli, s3):
    mine = cli("s3", "us-east-1")
    for bucket in ("devopsctl-999999999999-us-east-1-an", "foreign-bucket"):
        assert refused(mine.create_bucket, Bucket=bucket)[0] == "AccessDenied"
        assert refused(mine.put_object, Bucket=bucket, Key="a", Body=b"x")[0] == "AccessDenied"
    bucket = "devopsctl-123456789012-us-east-1-an"
    until(lambda: granted(mine.create_bucket, Bucket=bucket))
    key = "a/releases/with space+plus=ä.gz"
    mine.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [one["Key"] for one in mine.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]] == [key]
    # The metadata of a release needs the right to read it. Logs are readable for users, all other objects for the instance only.
    assert mine.head_object(Bucket=bucket, Key=key)["ContentLength"] == 1
    for kept, read in (("a/logs/x", True), ("a/certificates.json", False)):
        mine.put_object(Bucket=bucket, Key=kept, Body=b"x")
        assert bool(granted(mine.get_object, Bucket=bucket, Key=kept)) == read
        mine.delete_object(Bucket=bucket, Key=kept)
    assert refused(mine.head_object, Bucket=bucket, Key="a/certificates.json")[0] == "403"
    # The condition of an ETag needs the right to read the object, too.
    mine.put_object(Bucket=bucket, Key="a/released/x.json", Body=b"x", IfNoneMatch="*")
    code, message = refused(mine.put_object, Bucket=bucket, Key="a/released/x.json", Body=b"x", IfMatch='"x"')
    assert code == "AccessDenied" and "s3:GetObject" in message
    mine.delete_object(Bucket=bucket, Key="a/released/x.json")
    assert refused(mine.get_object_acl, Bucket=bucket, Key=key)[0] == "AccessDenied"
    assert refused(mine.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})[0] == (
        "AccessDenied"
    )
    assert refused(mine.list_buckets)[0] == "AccessDenied"
    assert [one["Key"] for one in mine.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})["Deleted"]]
    mine.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket="foreign-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="foreign-bucket", Key="a", Body=b"x")
    kept = mine.delete_objects(Bucket="foreign-bucket", Delete={"Objects": [{"Key": "a"}]})
    assert [(one["Key"], one["Code"]) for one in kept["Errors"]] == [("a", "AccessDenied")]


# Route 53


def test_only_marked_records_can_be_changed(cli, route53):
    zone = route53.create_hosted_zone(Name="marked.example", CallerReference="marked")["HostedZone"]["Id"]
    mine = cli("route53")

    def send(*sets, by=mine):
        values = {"A": "192.0.2.1", "TXT": '"x"', "MX": "1 a.example"}
        changes = [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": {
                    "Name": f"{name}.marked.example",
                    "Type": kind,
                    "TTL": 60,
                    "ResourceRecords": [{"Value": values[kind]}],
                },
            }
            for name, kind in sets
        ]
        return by.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})

    for sets in ([("a", "A")], [("a", "MX"), ("_devopsctl.a", "TXT")], [("x_devopsctl.a", "TXT")]):
        code, message = refused(lambda sets=sets: send(*sets))
        assert code == "AccessDenied" and "route53:ChangeResourceRecordSets on resource: arn:aws:route53:::" in message
        send(*sets, by=route53)
    send(("a", "A"), ("_devopsctl.a", "TXT"))
    assert mine.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert mine.list_hosted_zones_by_name()["HostedZones"]
    assert refused(mine.list_hosted_zones)[0] == "AccessDenied"
    assert refused(mine.create_hosted_zone, Name="b.example", CallerReference="b")[0] == "AccessDenied"


def test_used_permissions_are_logged_without_values(sandbox, cli):
    cli("ssm").put_parameter(Name="/devopsctl/b/token", Type="SecureString", Value="nobody-must-see-this", Tags=OURS)
    with pytest.raises(ClientError):
        cli("ssm").get_parameter(Name="/other/b/token")
    text = (sandbox.folder / "iam.log").read_text()
    assert "nobody-must-see-this" not in text and "/other/b/token" not in text
    arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl/b/token"
    assert permission_log(sandbox)[-1] == {
        "action": "ssm:PutParameter",
        "checks": [
            {"action": "ssm:PutParameter", "resource": arn, "by": ["Parameters"]},
            {"action": "ssm:AddTagsToResource", "resource": arn, "by": ["Parameters"]},
        ],
    }
