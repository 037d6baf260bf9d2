"""DNS zones: a change batch is atomic, and it must match the existing records."""

from core.errors import AwsError
from core.hooks import around
from moto.route53.models import RecordSet, Route53Backend
from moto.route53.responses import Route53

# The page size of the list.
PAGE = 100


@around(Route53, "list_hosted_zones_by_name")
def list_hosted_zones_by_name(call, proceed):
    """Lists all zones from that name on, ordered by their labels from the right."""
    answer = proceed()
    first = labels(call._get_param("DNSName") or "")
    zones = sorted(call.backend.zones.values(), key=lambda zone: labels(zone.name))
    zones = [zone for zone in zones if labels(zone.name) >= first]
    answer.result.update({"HostedZones": zones[:PAGE], "IsTruncated": len(zones) > PAGE, "MaxItems": PAGE})
    return answer


def labels(name):
    """The sort key of a zone."""
    return name.rstrip(".").split(".")[::-1]


def change_resource_record_sets(backend, zone_id, changes):
    """Replaces moto's implementation, which deletes records that differ, and finds records that are deleted."""
    zone = backend.get_hosted_zone(zone_id)
    after, wrong = {key(one): one for one in zone.rrsets}, []
    for change in changes:
        one = record(change["ResourceRecordSet"])
        wrong += RULES[change["Action"]](after, one) or conflicts(after, one, change["Action"], zone.name)
    if wrong:
        raise AwsError("InvalidChangeBatch", f"[{', '.join(wrong)}]")
    zone.rrsets = list(after.values())


def record(given):
    """A record set of moto."""
    values = [value["Value"] for value in given.get("ResourceRecords", [])]
    return RecordSet({**given, "Name": given["Name"].rstrip(".").lower() + ".", "ResourceRecords": values})


def key(one):
    """The identity of a record set."""
    return one.name, one.type, one.set_identifier


def same(one, other):
    """Whether a deletion matches the record set."""
    return all(vars(one)[part] == vars(other)[part] for part in ("ttl", "alias_target", "weight")) and (
        sorted(one.records or []) == sorted(other.records or [])
    )


def create(after, one):
    if key(one) in after:
        return [f"Tried to create resource record set {named(one)} but it already exists"]
    after[key(one)] = one
    return []


def upsert(after, one):
    after[key(one)] = one
    return []


def delete(after, one):
    there = after.get(key(one))
    if there is None:
        return [f"Tried to delete resource record set {named(one)} but it was not found"]
    if not same(there, one):
        return [
            f"Tried to delete resource record set {named(one)} but the values provided do not match the current values"
        ]
    del after[key(one)]
    return []


def named(one):
    return f"[name='{one.name}', type='{one.type}']"


def conflicts(after, one, action, zone):
    """Record sets that conflict with others, with the zone, or with the syntax."""
    if action == "DELETE":
        return
    if not f".{one.name}".endswith(f".{zone}"):
        yield f"RRSet with DNS name {one.name} is not permitted in zone {zone}"
    if one.type == "TXT" and not all(value.startswith('"') and value.endswith('"') for value in one.records):
        yield f"Invalid Resource Record: 'FATAL problem: InvalidCharacterString (Value should be enclosed in quotation marks) encountered with '{one.records[0]}''"
    for other in after.values():
        if other.name == one.name and other is not one:
            if "CNAME" in (one.type, other.type) and other.type != one.type:
                yield (
                    f"RRSet of type {one.type} with DNS name {one.name} is not permitted because a conflicting RRSet of "
                    f"type {other.type} with the same DNS name already exists in zone {zone}"
                )
            elif other.type == one.type and not (other.set_identifier and one.set_identifier):
                yield f"RRSet with DNS name {one.name}, type {one.type} cannot be created as other RRSets exist with the same name and type"


RULES = {"CREATE": create, "DELETE": delete, "UPSERT": upsert}

Route53Backend.change_resource_record_sets = change_resource_record_sets
