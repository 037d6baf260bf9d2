"""The rules for SSM, S3 and Route 53, where moto is more lenient than AWS, and the faults that tests request."""

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import NUMBERS, associated, granted, refused, runs, until

# Images and buckets


def test_each_region_knows_the_newest_images(sandbox):
    for region in ("us-east-1", "eu-west-1"):
        ssm = sandbox.client("ssm", region)
        names = ["/aws/service/debian/release/13/latest/amd64", "/aws/service/debian/release/13/latest/arm64"]
        assert len(ssm.get_parameters(Names=names)["Parameters"]) == 2


def make(s3, name):
    return s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})


def test_a_new_bucket_blocks_public_access_and_checks_the_expected_owner(s3):
    make(s3, "closed")
    assert all(s3.get_public_access_block(Bucket="closed")["PublicAccessBlockConfiguration"].values())
    assert refused(s3.list_objects_v2, Bucket="closed", ExpectedBucketOwner="999999999999")[0] == "AccessDenied"
    s3.list_objects_v2(Bucket="closed", ExpectedBucketOwner="123456789012")


def test_a_body_with_a_wrong_sha256_is_refused(s3):
    make(s3, "checked")
    said = base64.b64encode(hashlib.sha256(b"whole").digest()).decode()
    s3.put_object(Bucket="checked", Key="a", Body=b"whole", ChecksumSHA256=said)
    cut = {"Bucket": "checked", "Key": "b", "Body": b"who", "ChecksumSHA256": said}
    assert refused(s3.put_object, **cut)[0] == "BadDigest"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="checked")["Contents"]] == ["a"]


def test_a_conditional_write_needs_the_state_that_it_names(s3):
    make(s3, "conditional")
    first = s3.put_object(Bucket="conditional", Key="a", Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(s3.put_object, Bucket="conditional", Key="a", Body=b"2", IfNoneMatch="*")[0] == "PreconditionFailed"
    second = s3.put_object(Bucket="conditional", Key="a", Body=b"2", IfMatch=first)["ETag"]
    assert refused(s3.put_object, Bucket="conditional", Key="a", Body=b"3", IfMatch=first)[0] == "PreconditionFailed"
    assert refused(s3.put_object, Bucket="conditional", Key="b", Body=b"3", IfMatch=first)[0] == "NoSuchKey"
    for conditions in ({"IfNoneMatch": first}, {"IfNoneMatch": "*", "IfMatch": second}):
        code, _ = refused(s3.put_object, Bucket="conditional", Key="a", Body=b"3", **conditions)
        assert code == "NotImplemented"
    found = s3.get_object(Bucket="conditional", Key="a")
    assert (found["Body"].read(), found["ETag"]) == (b"2", second)


def test_of_concurrent_conditional_writes_one_succeeds(s3):
    make(s3, "raced")

    def write(number):
        return granted(s3.put_object, Bucket="raced", Key="a", Body=b"%d" % number, IfNoneMatch="*") is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(32))) == 1


def test_a_saved_account_includes_its_buckets(sandbox, s3):
    sandbox.control("emulator/reset")  # Nothing may be on its way, as other tests may have left it.
    make(s3, "kept")
    s3.put_object(Bucket="kept", Key="a", Body=b"whole")
    sandbox.control("emulator/save?name=saved")
    for _ in range(3):
        sandbox.control("emulator/restore?name=saved")
        assert s3.list_objects_v2(Bucket="kept")["Contents"][0]["Size"] == 5
        assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"whole"


def test_the_name_of_a_deleted_bucket_is_unavailable_for_a_while(s3):
    make(s3, "resting")
    s3.delete_bucket(Bucket="resting")
    assert refused(make, s3=s3, name="resting")[0] == "OperationAborted"
    until(lambda: granted(make, s3=s3, name="resting"))


def test_loopback_counts_as_tls_in_bucket_policies(s3):
    make(s3, "tls-only")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::tls-only", "arn:aws:s3:::tls-only/*"],
    }
    tls = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    s3.put_bucket_policy(Bucket="tls-only", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny | tls]}))
    s3.put_object(Bucket="tls-only", Key="a", Body=b"x")
    s3.put_bucket_policy(Bucket="tls-only", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    assert refused(s3.put_object, Bucket="tls-only", Key="b", Body=b"x")[0] in ("AccessDenied", "403")


# Route 53


@pytest.fixture
def zone(route53):
    """A new zone, as a function that sends a batch and returns the records."""
    name = f"zone-{next(NUMBERS)}.example"
    zone = route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"]

    def send(*changes):
        batch = [{"Action": action, "ResourceRecordSet": one} for action, one in changes]
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": batch})
        listed = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        return [one for one in listed if one["Type"] not in ("NS", "SOA")]

    send.zone = name
    return send


def record(zone, label, kind="A", value="192.0.2.1", **more):
    return {"Name": f"{label}.{zone}.", "Type": kind, "TTL": 60, "ResourceRecords": [{"Value": value}], **more}


def test_a_record_is_created_once(zone):
    one = record(zone.zone, "a")
    assert zone(("CREATE", one)) == [one]
    code, message = refused(lambda: zone(("CREATE", one)))
    assert code == "InvalidChangeBatch" and "already exists" in message
    # A deleted record can be created again, also beside other records.
    zone(("CREATE", record(zone.zone, "z")))
    assert zone(("DELETE", one)) == [record(zone.zone, "z")]
    assert zone(("CREATE", one)) == [one, record(zone.zone, "z")]


@pytest.mark.parametrize("other", [{"TTL": 300}, {"ResourceRecords": [{"Value": "192.0.2.2"}]}])
def test_a_deletion_must_match_the_record(zone, other):
    one = record(zone.zone, "a")
    assert "was not found" in refused(lambda: zone(("DELETE", one)))[1]
    zone(("CREATE", one))
    code, message = refused(lambda: zone(("DELETE", one | other)))
    assert code == "InvalidChangeBatch" and "do not match the current values" in message
    # Also with a former value.
    zone(("UPSERT", one | other))
    assert "do not match" in refused(lambda: zone(("DELETE", one)))[1]


def test_a_change_batch_is_atomic(zone):
    one, two = record(zone.zone, "a"), record(zone.zone, "b")
    zone(("CREATE", one))
    assert "already exists" in refused(lambda: zone(("CREATE", two), ("CREATE", one)))[1]
    assert zone(("UPSERT", one)) == [one]
    assert zone(("DELETE", one), ("CREATE", two)) == [two]


def test_cname_records_exclude_others_and_texts_need_quotes(zone):
    zone(("CREATE", record(zone.zone, "a", "CNAME", "b.example.com")))
    assert "conflicting RRSet of type CNAME" in refused(lambda: zone(("UPSERT", record(zone.zone, "a"))))[1]
    assert "quotation marks" in refused(lambda: zone(("CREATE", record(zone.zone, "t", "TXT", "bare"))))[1]
    assert "not permitted in zone" in refused(lambda: zone(("CREATE", record("other.example", "a"))))[1]
    weighted = {"SetIdentifier": "one", "Weight": 1}
    zone(("CREATE", record(zone.zone, "w", **weighted)))
    assert "other RRSets exist" in refused(lambda: zone(("CREATE", record(zone.zone, "w"))))[1]


def test_zones_are_listed_in_order_from_a_name_on(route53):
    names = ["shop.test.", "a.shop.test.", "b.a.shop.test.", "shopping.test."]
    for name in reversed(names):
        route53.create_hosted_zone(Name=name, CallerReference=name)
    listed = route53.list_hosted_zones_by_name(DNSName="a.shop.test")
    assert [zone["Name"] for zone in listed["HostedZones"]] == names[1:]
    assert listed["IsTruncated"] is False


# Faults and accounts


def test_a_fault_occurs_once_and_only_for_its_action(sandbox, ec2):
    sandbox.control("emulator/refuse?action=DescribeInstances&code=RequestLimitExceeded&status=503")
    ec2.describe_security_groups()
    assert refused(ec2.describe_instances)[0] == "RequestLimitExceeded"
    ec2.describe_instances()


def test_an_address_needs_an_internet_gateway_and_the_default_vpc_has_one(ec2, launch):
    tables = ec2.describe_route_tables(Filters=[{"Name": "association.main", "Values": ["true"]}])["RouteTables"]
    assert any(route.get("GatewayId", "").startswith("igw-") for table in tables for route in table["Routes"])
    vpc = ec2.create_vpc(CidrBlock="10.11.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.11.0.0/24")["Subnet"]["SubnetId"]
    instance = launch(SubnetId=subnet)["InstanceId"]
    runs(ec2, instance)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    lead = {"AllocationId": address, "InstanceId": instance}
    assert refused(ec2.associate_address, **lead)[0] == "Gateway.NotAttached"
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.associate_address(**lead)
    ec2.disassociate_address(
        AssociationId=ec2.describe_addresses(AllocationIds=[address])["Addresses"][0]["AssociationId"]
    )
    ec2.release_address(AllocationId=address)


def test_a_deleted_profile_can_be_associated(sandbox, ec2, iam, launch, profile):
    instance = launch()["InstanceId"]
    runs(ec2, instance)
    sandbox.control("emulator/stale-profile")
    made = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
    attached = until(lambda: associated(ec2, instance, profile))["IamInstanceProfileAssociation"]
    assert attached["IamInstanceProfile"]["Arn"] == made["Arn"]
    assert attached["IamInstanceProfile"]["Id"] != made["InstanceProfileId"]
    ec2.disassociate_iam_instance_profile(AssociationId=attached["AssociationId"])
    attached = until(lambda: associated(ec2, instance, profile))["IamInstanceProfileAssociation"]
    assert attached["IamInstanceProfile"]["Id"] == made["InstanceProfileId"]


def test_a_bucket_with_versions_is_not_empty(sandbox):
    s3, bucket = sandbox.client("s3", "us-east-1"), f"bucket-{next(NUMBERS)}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="key", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="key")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert refused(s3.delete_bucket, Bucket=bucket)[0] == "BucketNotEmpty"
    listed = s3.list_object_versions(Bucket=bucket)
    found = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in listed["Versions"] + listed["DeleteMarkers"]]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": found})
    s3.delete_bucket(Bucket=bucket)
