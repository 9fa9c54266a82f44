"""Static tokens that somebody wrote down: upstream's --token-auth-file, CSV lines `token,user,uid,"group,group"`.

The file is looked at again when an unknown token comes and it has changed, so that nobody has to restart the lab.
Source followed: apiserver/pkg/authentication/token/tokenfile.
"""

import csv
import logging
from pathlib import Path

from netlab.apiserver.authn.certificates import AUTHENTICATED
from netlab.apiserver.wire.message import User

log = logging.getLogger("netlab.apiserver")


def parse(text: str, name: str) -> dict[str, User]:
    """PURE but for the log, which hears of lines that are none. A token that comes twice is the last one's."""
    found: dict[str, User] = {}
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if len(row) < 3:
            columns = f"must have at least 3 columns (token, user name, user uid), found {len(row)}"
            log.error("token file '%s' %s", name, columns)
            continue
        token, user, uid = (part.strip() for part in row[:3])
        if not token:
            log.error("token file '%s': a line without a token", name)
            continue
        groups = [group.strip() for group in row[3].split(",")] if len(row) > 3 else []
        found[token] = User(user, (*(group for group in groups if group), AUTHENTICATED), uid)
    return found


class TokenFile:
    """The tokens of one file, which need not be there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, User] = {}

    def user(self, token: str) -> User | None:
        """The user of a token."""
        self._read()
        return self._users.get(token)

    def _read(self) -> None:
        try:
            found = self._path.stat()
            seen = found.st_mtime_ns, found.st_size
            if seen != self._seen:
                self._users, self._seen = parse(self._path.read_text(), str(self._path)), seen
        except FileNotFoundError:
            self._users, self._seen = {}, None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            log.error("token file '%s': %s", self._path, error)
