"""Creates the tables and the first user. All workers start at once, so one after the other."""

import fcntl
import os

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command


def create():
    with open(f"{settings.DATABASES['default']['NAME']}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("migrate", interactive=False, verbosity=0)
        if not get_user_model().objects.exists():
            get_user_model().objects.create_superuser("admin", password=os.environ["ADMIN_PASSWORD"])
