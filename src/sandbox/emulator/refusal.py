"""An error as AWS answers it."""

from moto.core.exceptions import ServiceException


class Refusal(ServiceException):
    """Code and message; the HTTP status where it is not what the service's errors have by default."""

    def __init__(self, code, message, status=None):
        super().__init__(code, message)
        self.status = status
