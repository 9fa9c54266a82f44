"""What a person with curl meets: health by named checks, JSON for eyes, the version, methods that are not there."""

from pathlib import Path

import orjson
import pytest
from apiserver_harness import CMS, config_map, harness

from netlab.apiserver.wire.message import Response


async def test_health_by_named_checks(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:

        async def ask(path: str) -> tuple[int, str]:
            found = await server.raw("GET", path)
            assert isinstance(found, Response)
            return found.code, found.text.decode()

        for endpoint in ("healthz", "livez", "readyz"):
            assert await ask(f"/{endpoint}") == (200, "ok")
            code, said = await ask(f"/{endpoint}?verbose")
            lines = said.splitlines()
            assert code == 200
            assert lines[:3] == ["[+]ping ok", "[+]log ok", "[+]etcd ok"]
            assert "[+]poststarthook/rbac/bootstrap-roles ok" in lines
            assert ("[+]informer-sync ok" in lines) == (endpoint == "readyz")
            assert lines[-1] == f"{endpoint} check passed"
        assert await ask("/livez/etcd") == (200, "ok")
        assert await ask("/readyz/poststarthook/rbac/bootstrap-roles?verbose") == (
            200,
            "[+]poststarthook/rbac/bootstrap-roles ok\nreadyz check passed\n",
        )
        assert "[+]etcd excluded: ok" in (await ask("/livez?verbose&exclude=etcd"))[1]
        assert 'no matches for "nope"' in (await ask("/livez?verbose&exclude=nope"))[1]
        assert (await server.refused("GET", "/livez/no-such"))[:2] == (404, "NotFound")
        await server.ok("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin")
        code, said = await ask("/readyz")
        assert code == 500
        assert "[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n" in said
        assert said.endswith("readyz check failed\n")
        assert (await ask("/readyz?exclude=poststarthook/rbac/bootstrap-roles"))[0] == 200


@pytest.mark.parametrize(
    "agent, query, pretty",
    [
        ("curl/7.88.1", "", True),
        ("Wget/1.21", "", True),
        ("Mozilla/5.0 (X11)", "", True),
        ("kubectl/v1.33.0", "", False),
        ("kubectl/v1.33.0", "?pretty=true", True),
        ("curl/7.88.1", "?pretty=false", False),
    ],
)
async def test_json_for_eyes(tmp_path: Path, agent: str, query: str, pretty: bool) -> None:
    async with harness(tmp_path) as server:
        await server.ok("POST", CMS, config_map("a", k="v"))
        for path, code in ((f"{CMS}/a", 200), (CMS, 200), (f"{CMS}/none", 404), ("/apis/apps", 200)):
            found = await server.raw("GET", path + query, headers={"user-agent": agent})
            assert isinstance(found, Response)
            assert found.code == code
            value = orjson.loads(found.text)
            assert found.text.startswith(b'{\n  "kind": ') == pretty, found.text
            assert (found.text == orjson.dumps(value, option=orjson.OPT_INDENT_2)) == pretty
            assert found.text.endswith(b"}\n") != pretty  # serializer/json: only Go's json.Encoder ends its line
        version = await server.raw("GET", "/version")
        assert isinstance(version, Response) and version.text.startswith(b'{\n  "major": "1"')
