# SPDX-License-Identifier: Apache-2.0
# exec replaces the shell, with the environment and redirections that the script made.
export MADE="by the script"
cd /data
exec > /scratch/sums
echo redirected
exec 1>&2
exec awk 'BEGIN { print ENVIRON["MADE"]; while ((getline line < "/scratch/sums") > 0) print "had: " line; exit 7 }'
