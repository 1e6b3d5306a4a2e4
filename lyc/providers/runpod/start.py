"""What a pod of lyc runs first: who may log in, when it ends by itself, and what to power off means there.

    LYC_ENDS_AT        epoch seconds at which the pod gives itself back, whatever happens: its time limit
    /run/lyc-pod/until another such time, or `never`; whoever leases the pod moves it (write beside it, then rename)

`shutdown +MINUTES`, `shutdown -c`, `shutdown now`, `poweroff` and `halt` write the second, so that a lease is renewed
in a pod as on any machine. The watcher alone holds the key that RunPod gives each pod for itself, and asks until it is
gone. A container that is started again has the same time limit, not a new one.

sshd has a host key of this pod's own, for one that lies in an image is known to whoever pulls it; and nothing else of
the image is started, whose start-up would write the pod's key where engines can read it.
"""

from __future__ import annotations

SSHD = "/usr/sbin/sshd -D -e"
_SCRIPT = r"""
R='@ROOT@'; D="$R/run/lyc-pod"; H="$R${HOME:-/root}"; B="$R/usr/local/sbin"
mkdir -p "$D" "$H/.ssh" "$B"; chmod 700 "$H/.ssh"; chmod 755 "$D"
[ -s "$D/until" ] || echo never >"$D/until"
cat >"$B/shutdown" <<'EOF'
#!/bin/sh
# In a pod there is nothing to power off: it gives itself back.
at=0
for word in "$@"; do case "$word" in
  -c) at=never ;;
  +[0-9]*) at=$(($(date +%s) + 60 * ${word#+})) ;;
esac; done
echo "$at" >"@ROOT@/run/lyc-pod/until.new" && mv "@ROOT@/run/lyc-pod/until.new" "@ROOT@/run/lyc-pod/until"
EOF
chmod 755 "$B/shutdown"; for name in poweroff halt; do ln -sf shutdown "$B/$name"; done
ask() {
  printf 'header = "Authorization: Bearer %s"\n' "${RUNPOD_API_KEY:-}" |
    curl -sS -m 30 -A lyc -K - -o /dev/null -H 'Content-Type: application/json' "$@"
}
over() { [ "$1" != never ] && [ "$(date +%s)" -ge "$1" ]; }
watch() {
  while :; do
    if over "${LYC_ENDS_AT:-never}" || over "$(cat "$D/until")"; then
      ask -X DELETE "@REST@/pods/$RUNPOD_POD_ID"
      ask -d "{\"query\": \"mutation { podTerminate(input: {podId: \\\"$RUNPOD_POD_ID\\\"}) }\"}" '@GRAPHQL@'
    fi
    sleep @EVERY@
  done
}
watch >"$D/watch.log" 2>&1 &
printf '%s\n' "$LYC_PUBLIC_KEY" >>"$H/.ssh/authorized_keys"; chmod 600 "$H/.ssh/authorized_keys"
if [ -n "${LYC_BOOT_SCRIPT:-}" ]; then
  printf '%s' "$LYC_BOOT_SCRIPT" | base64 -d >"$D/boot"; chmod 700 "$D/boot"
  "$D/boot" >"$D/boot.log" 2>&1 &
fi
if [ ! -e "$D/keys" ]; then
  mkdir -p "$R/etc/ssh"; rm -f "$R"/etc/ssh/ssh_host_*; ssh-keygen -A ${R:+-f "$R"} && touch "$D/keys"
fi
mkdir -p "$R/run/sshd"; exec @SSHD@
"""


def script(rest: str, graphql: str, *, root: str = "", every: str = "10", sshd: str = SSHD) -> str:
    """The start command of a pod, for `bash -c`. rest, graphql: addresses of the API, as a pod reaches it.

    root: in front of every path that it writes. every: seconds between two looks at the clock. sshd: its command line.
    """
    marks = {"@ROOT@": root, "@REST@": rest, "@GRAPHQL@": graphql, "@EVERY@": every, "@SSHD@": sshd}
    text = _SCRIPT.lstrip()
    for mark, value in marks.items():
        text = text.replace(mark, value)
    return text
