"""manage.py for several commands in one process: `manage.py migrate -- showmigrations store`."""

import os
import sys

import django
from django.core.management import call_command
from django.db import connections


def main(arguments):
    """Runs the commands in order, each on connections of its own."""
    django.setup()
    while arguments:
        end = arguments.index("--") if "--" in arguments else len(arguments)
        call_command(*arguments[:end])
        connections.close_all()
        arguments = arguments[end + 1 :]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")
    main(sys.argv[1:])
