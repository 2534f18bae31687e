#!/usr/bin/env bash
# Says that PORT is taken before minutes go into a build.
. "$(dirname "$0")/lib.sh"
check_platform

if [ "$PORT" != 0 ] && (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
    die "port $PORT is taken: stop the program that has it, or choose another port: make run PORT=50001"
fi
