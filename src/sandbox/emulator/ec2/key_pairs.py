"""Key pairs: they can also be deleted by id."""

from core.errors import AwsError
from core.hooks import around
from moto.ec2.responses import EC2Response


@around(EC2Response, "delete_key_pair")
def delete_key_pair(call, proceed):
    wanted = call._get_param("KeyPairId")
    if wanted:
        names = [name for name, pair in call.ec2_backend.key_pairs.items() if pair.id == wanted]
        if not names:
            raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{wanted}' does not exist")
        call.params["KeyName"] = names[0]
    return proceed()
