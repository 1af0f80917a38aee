#!/bin/sh
# /usr/bin/meterseal: the program from its own environment in /opt/meterseal. What writes in the state directory is done under
# the agent's account, also when root asks: a key or ledger that belongs to root could not be used by the agent.
program=/opt/meterseal/bin/meterseal
case "${1:-}" in
init | key | run | trust | pair | manual | spot | correct | replace | confirm | read | commission | scan)
    [ "$(id -u)" = 0 ] && exec runuser -u meterseal -- "$program" "$@"
    ;;
esac
exec "$program" "$@"
