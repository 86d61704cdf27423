"""Says what openstacksdk makes of clouds.yaml: a list of cases in, a list of answers out."""
import importlib
import json
import os
import sys
import warnings

from openstack.config import loader

warnings.simplefilter("ignore")

cases = json.load(sys.stdin)
answers = []
for case in cases:
    for k in list(os.environ):
        if k.startswith("OS_") or k.startswith("XDG_") or k == "SNAP_REAL_HOME":
            del os.environ[k]
    os.environ.update(case["env"])
    os.chdir(case["dir"])
    # Where it looks is worked out when it is loaded.
    importlib.reload(loader)
    try:
        region = loader.OpenStackConfig().get_one(cloud=case["cloud"], region_name=os.environ.get("OS_REGION_NAME") or None)
        if not region.has_service("network"):
            raise Exception("no network service")
        verify, cert = region.get_requests_verify_args()
        cert = [cert, cert] if isinstance(cert, str) else list(cert or ["", ""])
        auth = {k: str(v) for k, v in region.config["auth"].items() if v not in (None, "")}
        answers.append({
            "auth_type": region.config["auth_type"], "auth": auth,
            "override": region.get_endpoint("network") or "",
            "region": region.get_region_name("network") or "", "interface": str(region.get_interface("network")),
            "service_type": region.get_service_type("network"), "service_name": region.get_service_name("network") or "",
            "insecure": verify is False, "ca": verify if isinstance(verify, str) else "", "cert": cert[0], "key": cert[1],
            "timeout": min(region.get_session().timeout or 0, 1e9), "places": loader.CONFIG_SEARCH_PATH[1:],
        })
    except Exception as e:
        answers.append({"error": "%s: %s" % (type(e).__name__, e)})
json.dump(answers, sys.stdout)
