"""Commands about claims"""

PANEL = " verdicts, attestations, a plan that was sealed.:Trust"
