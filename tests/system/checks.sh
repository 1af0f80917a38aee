#!/bin/bash
# To be sourced: what a check prints, and whether one failed ($failed). A check is named by a sentence that holds if it is well.
failed=0

# good SENTENCE COMMAND...
good() {
    local sentence=$1 printed
    shift
    if printed=$("$@" 2>&1); then echo "ok    $sentence"; else
        echo "FAIL  $sentence"
        echo "$printed" | tail -5 | sed 's/^/      /'
        failed=1
    fi
}

# until_good SENTENCE SECONDS COMMAND...: tried each second, until it is well or the time is over.
until_good() {
    local sentence=$1 seconds=$2 began=$SECONDS
    shift 2
    until "$@" >/dev/null 2>&1 || [ $((SECONDS - began)) -ge "$seconds" ]; do sleep 1; done
    good "$sentence ($((SECONDS - began)) s)" "$@"
}

# shows COMMAND...: what it prints, whatever its end.
shows() {
    "$@" 2>&1 | sed 's/^/      /' || true
}
