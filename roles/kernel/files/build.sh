#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# build.sh SOURCE BUILD: build the kernel, one caller at a time: two that write the same objects spoil both.
set -eu
source=$1 build=$2
exec 9>"$build/.lock"
flock 9
# A build that was killed may have left half an object that looks new. What was fetched is known by its digest.
if [ -e "$build/.unfinished" ]; then
    find "$build" -type f ! -name .lock ! -name .unfinished ! -name '*.orig.tar.xz' -delete
fi
touch "$build/.unfinished"
make --no-print-directory -C "$source" "BUILD=$build" WERROR= 9>&-
rm "$build/.unfinished"
