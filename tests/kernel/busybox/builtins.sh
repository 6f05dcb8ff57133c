# SPDX-License-Identifier: Apache-2.0
# The shell's own language: no second process is needed for any of it.
echo "args: $# $1 $2 given: $GIVEN"
x=1
while [ $x -le 5 ]; do
    printf '%d squared is %d\n' $x $((x * x))
    x=$((x + 1))
done
for word in alpha beta "gamma delta"; do echo "[$word]"; done
case "$2" in second*) echo matched;; *) echo no match;; esac
greet() { local name=$1; echo "hello ${name:-nobody}"; return 3; }
greet world
echo "status $?"
greet
value=/usr/lib/name.tar.gz
echo "${value##*/} ${value%.gz} ${#value} ${value%%.*}"
set -- a b c
shift
echo "$@" "$#"
[ -f /data/text ] && [ -d /data/sub ] && [ -L /data/link ] && [ ! -e /none ] && echo tests pass
cd /data && pwd && cd - && pwd
echo "first" > /scratch/out
echo "second" >> /scratch/out
while read -r line; do echo "read: $line"; done < /scratch/out
read -r only < /data/table && echo "$only"
umask 077 && umask
echo to stderr >&2
exec 3> /scratch/third && echo through three >&3 && exec 3>&- && read -r back < /scratch/third && echo "$back"
trap 'echo on exit' EXIT
type cd echo
test 5 -gt 3 -a abc != abd && echo arithmetic
echo $((0x1f + 010 * 3 % 7)) $((1 << 40))
for glob in /data/t*; do echo "$glob"; done
kill -0 $$ && echo alive
exit 42
