# SPDX-License-Identifier: Apache-2.0
# Perl: threads, files, sorting, signals, a sleeping alarm; and what it says where there is no second process.
use strict;
use warnings;
use threads;
use threads::shared;
use POSIX ();
use Time::HiRes qw(usleep);
use Digest::SHA qw(sha256_hex);

my %bucket;
$bucket{$_ % 97} .= $_ for 1 .. 20000;
print join(',', map { length $bucket{$_} } sort { $a <=> $b } keys %bucket), "\n";

my $total : shared = 0;
my @threads = map {
    my $n = $_;
    threads->create(sub { for my $i (1 .. 500) { lock $total; $total += $i * $n } $n * 2 })
} 1 .. 5;
print join(' ', map { $_->join } @threads), " $total\n";

open my $out, '>', '/scratch/lines' or die $!;
printf $out "line %d\n", $_ for 1 .. 5000;
close $out;
open my $in, '<', '/scratch/lines' or die $!;
my @lines = <$in>;
print scalar(@lines), ' ', -s '/scratch/lines', ' ', sha256_hex(join '', sort @lines), "\n";
print rename('/scratch/lines', '/scratch/moved') ? 1 : 0, ' ', unlink('/scratch/moved', '/scratch/none'), "\n";
mkdir '/scratch/dir' or die $!;
open my $file, '>', "/scratch/dir/$_" for qw(c a b);
opendir my $dir, '/scratch/dir' or die $!;
print join(' ', sort grep { !/^\./ } readdir $dir), "\n";

my $rang = 0;
$SIG{ALRM} = sub { $rang++ };
Time::HiRes::ualarm(50000);
my $slept = select undef, undef, undef, 20;
print "alarm $rang, interrupted: ", $slept == -1 ? $! + 0 == POSIX::EINTR() : 0, "\n";
$SIG{USR1} = sub { print "signal $_[0]\n" };
kill USR1 => $$;
print POSIX::strftime('%Y-%m-%d %H:%M:%S', gmtime 1234567890), "\n";
print eval { die { code => 7 } } // "died with $@->{code}", "\n";
