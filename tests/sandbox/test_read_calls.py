"""Read calls that moto answers differently from AWS: instance types, quotas, the account's plan, dry runs."""

import json

import pytest
from conftest import granted, refused, until


@pytest.fixture
def nowhere(sandbox):
    """A region that no other test uses."""
    return sandbox.client("ec2", "eu-south-2")


def test_a_region_lists_only_its_own_instance_types(ec2, nowhere):
    asked = {"Filters": [{"Name": "instance-type", "Values": ["a1.medium", "t3.micro"]}]}
    here = {one["InstanceType"]: one for one in ec2.describe_instance_types(**asked)["InstanceTypes"]}
    assert set(here) == {"a1.medium", "t3.micro"}
    assert here["t3.micro"]["FreeTierEligible"] is True
    assert here["a1.medium"]["ProcessorInfo"]["SupportedArchitectures"] == ["arm64"]
    assert [one["InstanceType"] for one in nowhere.describe_instance_types(**asked)["InstanceTypes"]] == ["t3.micro"]


def test_offerings_differ_by_zone_and_include_every_type_in_unknown_regions(ec2, nowhere, sandbox):
    def zones(client, name):
        asked = {"LocationType": "availability-zone", "Filters": [{"Name": "instance-type", "Values": [name]}]}
        return {one["Location"] for one in client.describe_instance_type_offerings(**asked)["InstanceTypeOfferings"]}

    assert "eu-west-1a" in zones(ec2, "t3.micro")
    virginia = zones(sandbox.client("ec2", "us-east-1"), "t3.micro")
    assert "us-east-1a" in virginia and "us-east-1e" not in virginia
    assert zones(nowhere, "a1.medium") == set()
    young = sandbox.client("ec2", "ap-southeast-7")
    assert zones(young, "a1.medium") == {"ap-southeast-7a", "ap-southeast-7b", "ap-southeast-7c"}


def test_public_access_can_be_blocked_per_region(ec2, nowhere):
    def mode(client):
        return client.describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]

    assert (mode(nowhere)["InternetGatewayBlockMode"], mode(nowhere)["State"]) == ("off", "default-state")
    nowhere.modify_vpc_block_public_access_options(InternetGatewayBlockMode="block-ingress")
    assert mode(nowhere)["InternetGatewayBlockMode"] == "block-ingress"
    assert mode(ec2)["InternetGatewayBlockMode"] == "off"
    code, _ = refused(nowhere.modify_vpc_block_public_access_options, InternetGatewayBlockMode="all")
    assert code == "InvalidParameterValue"
    nowhere.modify_vpc_block_public_access_options(InternetGatewayBlockMode="off")


def test_a_dry_run_changes_nothing(nowhere):
    assert refused(nowhere.allocate_address, Domain="vpc", DryRun=True)[0] == "DryRunOperation"
    made = {"GroupName": "dry", "Description": "x", "DryRun": True}
    assert refused(nowhere.create_security_group, **made)[0] == "DryRunOperation"
    pair = {"KeyName": "dry", "PublicKeyMaterial": b"ssh-ed25519 AAAA", "DryRun": True}
    assert refused(nowhere.import_key_pair, **pair)[0] == "DryRunOperation"
    image = nowhere.describe_images()["Images"][0]["ImageId"]
    launch = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "DryRun": True}
    assert refused(nowhere.run_instances, **launch)[0] == "DryRunOperation"
    assert nowhere.describe_addresses()["Addresses"] == []
    assert nowhere.describe_key_pairs()["KeyPairs"] == []
    assert nowhere.describe_instances()["Reservations"] == []
    assert [group["GroupName"] for group in nowhere.describe_security_groups()["SecurityGroups"]] == ["default"]


@pytest.fixture
def limit(sandbox):
    """Sets the vCPU quota of the standard families."""

    def limit(value):
        sandbox.control(f"emulator/quota?code=L-1216C47A&value={value}")

    yield limit
    limit(256)


def test_the_quota_counts_vcpus_of_running_instances(sandbox, limit):
    ec2 = sandbox.client("ec2", "eu-central-2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    launched = []

    def launch(kind, **more):
        [made] = ec2.run_instances(ImageId=image, InstanceType=kind, MinCount=1, MaxCount=1, **more)["Instances"]
        launched.append(made["InstanceId"])
        until(lambda: look(made["InstanceId"]))
        until(lambda: look(made["InstanceId"])["State"]["Name"] == "running")
        return made["InstanceId"]

    def look(instance):
        found = granted(ec2.describe_instances, InstanceIds=[instance])
        return found and found["Reservations"] and found["Reservations"][0]["Instances"][0]

    limit(5)
    first = launch("m5.xlarge")
    cpu = look(first)["CpuOptions"]
    assert (cpu["CoreCount"], cpu["ThreadsPerCore"]) == (2, 2)
    code, message = refused(launch, kind="t3.micro")
    assert code == "VcpuLimitExceeded" and "limit of 5" in message
    assert refused(launch, kind="t3.micro", DryRun=True)[0] == "DryRunOperation"
    # Other families and Spot instances have quotas of their own.
    assert "limit of 0" in refused(launch, kind="g4dn.xlarge")[1]
    launch("t3.micro", InstanceMarketOptions={"MarketType": "spot"})
    # A stopped instance does not count until it is started.
    ec2.stop_instances(InstanceIds=[first])
    until(lambda: look(first)["State"]["Name"] == "stopped")
    second = launch("t3.micro")
    assert refused(ec2.start_instances, InstanceIds=[first])[0] == "VcpuLimitExceeded"
    ec2.terminate_instances(InstanceIds=[second])
    ec2.start_instances(InstanceIds=[first])
    ec2.terminate_instances(InstanceIds=launched)


def test_the_free_plan_allows_only_some_types(sandbox, nowhere):
    asked = {"Filters": [{"Name": "free-tier-eligible", "Values": ["true"]}]}
    eligible = {one["InstanceType"] for one in nowhere.describe_instance_types(**asked)["InstanceTypes"]}
    assert {"t3.micro", "t3.small"} <= eligible and not {"t2.micro", "m5.large"} & eligible
    launch = {"ImageId": nowhere.describe_images()["Images"][0]["ImageId"], "MinCount": 1, "MaxCount": 1}
    sandbox.control("emulator/plan?free=1")
    try:
        code, message = refused(nowhere.run_instances, InstanceType="m5.large", **launch)
        assert code == "InvalidParameterCombination" and "not eligible for Free Tier" in message
        assert refused(nowhere.run_instances, InstanceType="m5.large", DryRun=True, **launch)[0] == "DryRunOperation"
        [made] = nowhere.run_instances(InstanceType="t3.small", **launch)["Instances"]
    finally:
        sandbox.control("emulator/plan?free=0")
    [other] = nowhere.run_instances(InstanceType="m5.large", **launch)["Instances"]
    ids = [made["InstanceId"], other["InstanceId"]]
    until(lambda: granted(nowhere.terminate_instances, InstanceIds=ids))


def test_the_plan_has_its_credits_and_one_region(sandbox):
    freetier = sandbox.client("freetier", "us-east-1")

    def told():
        answer = freetier.get_account_plan_state()
        assert answer["accountId"] == "123456789012"
        return answer

    assert (told()["accountPlanType"], told()["accountPlanStatus"]) == ("PAID", "ACTIVE")
    assert "accountPlanRemainingCredits" not in told() and "accountPlanExpirationDate" not in told()
    sandbox.control("emulator/plan?free=1&credits=87.5&until=2030-01-31T00:00:00Z")
    try:
        assert told()["accountPlanType"] == "FREE"
        assert told()["accountPlanRemainingCredits"] == {"amount": 87.5, "unit": "USD"}
        assert told()["accountPlanExpirationDate"].isoformat() == "2030-01-31T00:00:00+00:00"
    finally:
        sandbox.control("emulator/plan?free=0")
    assert refused(sandbox.client("freetier", "eu-west-1").get_account_plan_state)[0] == "InvalidSignatureException"


def test_the_plan_needs_a_permission(sandbox, iam):
    iam.create_user(UserName="unknowing")
    made = iam.create_access_key(UserName="unknowing")["AccessKey"]
    keys = {"access_key": made["AccessKeyId"], "secret_key": made["SecretAccessKey"]}
    asked = sandbox.client("freetier", "us-east-1", keys)
    code, message = refused(asked.get_account_plan_state)
    assert code == "AccessDeniedException" and "freetier:GetAccountPlanState" in message
    allow = {"Effect": "Allow", "Action": "freetier:GetAccountPlanState", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName="unknowing", PolicyName="ask", PolicyDocument=policy)
    assert asked.get_account_plan_state()["accountPlanType"] == "PAID"


def test_quotas_are_applied_or_default(sandbox, limit):
    quotas = sandbox.client("service-quotas")
    standard = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
    limit(7)
    assert quotas.get_service_quota(**standard)["Quota"]["Value"] == 7
    assert quotas.get_aws_default_service_quota(**standard)["Quota"]["Value"] == 5
    for absent in (
        {"ServiceCode": "ec2", "QuotaCode": "L-DB2E81BA"},
        {"ServiceCode": "vpc", "QuotaCode": "L-1216C47A"},
    ):
        assert refused(quotas.get_service_quota, **absent)[0] == "NoSuchResourceException"


def test_a_dry_run_ignores_quotas(nowhere):
    limits = {
        one["AttributeName"]: one["AttributeValues"]
        for one in nowhere.describe_account_attributes()["AccountAttributes"]
    }
    limit = int(limits["vpc-max-elastic-ips"][0]["AttributeValue"])
    made = [nowhere.allocate_address(Domain="vpc")["AllocationId"] for _ in range(limit)]
    assert refused(nowhere.allocate_address, Domain="vpc")[0] == "AddressLimitExceeded"
    assert refused(nowhere.allocate_address, Domain="vpc", DryRun=True)[0] == "DryRunOperation"
    for allocation in made:
        nowhere.release_address(AllocationId=allocation)
