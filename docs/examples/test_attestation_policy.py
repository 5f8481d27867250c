"""A release policy under test: does a Realm keep its secret when the RMM below it is too old?

    pytest docs/examples/test_attestation_policy.py

The tokens are those of a running fleet: CBOR and COSE, signed by the simulated platform, verified and appraised as the
key broker does it. `fleet` and the marks come from Realmfleet's pytest plug-in.
"""

import pytest

from attestation.policy import Condition, Operator, Policy, Rule, Verdict, evaluate

PATCHED = Condition("firmware.RMM.security-version", Operator.AT_LEAST, (2,))
GENUINE = Condition("platform.status", Operator.ONE_OF, ("affirming",))
POLICY = Policy("only-patched", "1", (Rule("tls-keys", "default/*/*", (GENUINE, PATCHED)),))


@pytest.mark.cluster("clusters/small.yaml")
@pytest.mark.seeds(2)
def test_a_realm_gets_the_key_only_above_a_patched_rmm(fleet):
    fleet.until(lambda fleet: fleet.realms["web-001"].state == "serving")
    fleet.rollout("rmm-1.0.1", waves=["100%"]).wait()
    results = fleet.finish(after="30s")
    old, *_, new = results.evidence("web-001")
    refused = evaluate(POLICY, old.facts, "default/web/1")
    assert refused.verdict is Verdict.DENY
    assert "firmware.RMM.security-version at-least 2 is deny (found 1)" in refused.summary()
    assert evaluate(POLICY, new.facts, "default/web/1").verdict is Verdict.ALLOW
    assert evaluate(POLICY, new.facts, "other/web/1").verdict is Verdict.DENY
