"""Who asks, and who agrees: reviews by plain kubectl, signed by whoever writes them."""

import json

from demolib.actors import Actor, Result, until
from demolib.cast import Cast

GRANT = """\
apiVersion: securebucket.io/v1alpha1
kind: DecryptGrant
metadata: {{name: {name}, namespace: analytics}}
spec:
  bucketRef: {{name: call-logs, namespace: telephony}}
  subject: {{serviceAccountRef: {{name: reports}}}}
  prefixes: [calls/2026/]
  duration: {duration}
  reason: {reason}
  requester: {{username: alice, uid: uid-alice}}
"""
REVIEW = """\
apiVersion: securebucket.io/v1alpha1
kind: GrantReview
metadata: {{name: {name}, namespace: telephony}}
spec:
  bucketRef: {{name: call-logs}}
  grantRef: {{namespace: analytics, name: {grant}, uid: {uid}}}
  termsHash: {hash}
  decision: Approve
  reviewer: {{username: {who}, uid: uid-{who}}}
"""
COUNTED = "jsonpath={.status.conditions[?(@.type=='Counted')].reason}"


def ask(cast: Cast, name: str, duration: str, reason: str) -> None:
    """Alice asks; the request waits for somebody to agree."""
    alice = cast.alice
    alice.write(f"{name}.yaml", GRANT.format(name=name, duration=duration, reason=reason))
    alice.good("kubectl", "create", "-f", f"{name}.yaml")
    of = ["kubectl", "get", "dgrant", name, "-n", "analytics", "-o", "jsonpath={.status.conditions[?(@.type=='Active')].reason}"]
    until(f"{name} to wait for approval", lambda: alice.read(*of) == "AwaitingApproval")


def sign(cast: Cast, actor: Actor, grant: str, who: str) -> tuple[str, Result]:
    """Write and create a GrantReview in the name of `who`, who need not be the one who writes it. Returns its name."""
    pending = cast.bob.read("kubectl", "get", "sbkt", "call-logs", "-n", "telephony", "-o", "jsonpath={.status.pendingGrants}")
    asked = next(entry for entry in json.loads(pending) if entry["name"] == grant)
    cast.scene.names |= {asked["termsHash"]: "$TERMS_HASH", asked["uid"]: "$GRANT_UID"}
    name = f"{grant}-{actor.who}"
    actor.write(f"{name}.yaml", REVIEW.format(name=name, grant=grant, uid=asked["uid"], hash=asked["termsHash"], who=who))
    return name, actor.run("kubectl", "create", "-f", f"{name}.yaml")


def pending(cast: Cast, grant: str) -> str:
    """What the owner of the bucket has before him."""
    shown = ["kubectl", "get", "sbkt", "call-logs", "-n", "telephony", "-o",
             "jsonpath={range .status.pendingGrants[*]}{.namespace}/{.name} by {.requester} for {.serviceAccount}: "
             "{.prefixes} {.duration} {.reason} ({.approvals}){end}"]
    until(f"{grant} in status.pendingGrants", lambda: grant in cast.bob.read(*shown), within=15)
    return cast.bob.good(*shown)


def approve(cast: Cast, grant: str) -> None:
    """Bob agrees."""
    pending(cast, grant)
    name, created = sign(cast, cast.bob, grant, "bob")
    cast.show.demand("bob's review is taken", created.text, created.ok)
    counted(cast, name, "Counted", "and counts")


def counted(cast: Cast, review: str, word: str, expected: str) -> None:
    """What the operator makes of a review."""
    of = ["kubectl", "get", "greview", review, "-n", "telephony", "-o"]
    until(f"the verdict on {review}", lambda: cast.bob.read(*of, COUNTED), within=15)
    cast.bob.run("kubectl", "get", "greview", "-n", "telephony")
    seen = cast.bob.read(*of, COUNTED)
    cast.show.expect(expected, seen, seen == word)


def decide(cast: Cast, grant: str) -> None:
    """Who may agree, who may not, and in whose name."""
    show = cast.show
    show.step("The owner decides; nobody decides on himself, or in another's name")
    show.say("""alice and mallory may review requests on call-logs too, as bob may. A review says who writes it, and the API
        server refuses one that says somebody else. What is agreed to is named by termsHash, from status.pendingGrants of the bucket.""")
    seen = pending(cast, grant)
    show.expect("the owner sees who asks, for whom, for what and why", seen,
                all(word in seen for word in (f"analytics/{grant}", "alice", "reports", "calls/2026/", "0 of 1")))
    own, taken = sign(cast, cast.alice, grant, "alice")
    show.demand("alice may write a review", taken.text, taken.ok)
    counted(cast, own, "SelfApproval", "but it does not count: she asked herself")
    _, forged = sign(cast, cast.mallory, grant, "bob")
    show.expect("mallory cannot sign as bob", forged.err.partition("denied request: ")[2] or forged.text,
                not forged.ok and "spec.reviewer must be you" in forged.err)
    state = cast.alice.good("kubectl", "get", "dgrant", grant, "-n", "analytics").splitlines()[-1].split()[3]
    show.expect("so it still waits", state, state == "AwaitingApproval")
    approve(cast, grant)
