# The side of Perl: calls subroutines for the program that has started it. Frames in both directions: a letter, a length
# of four bytes (network order), that many bytes.
package Exim;

open(our $in, '<&', \*STDIN) or die;
open(our $out, '>&', \*STDOUT) or die;
open(STDIN, '<', '/dev/null');
open(STDOUT, '>&', \*STDERR);
binmode $in;
binmode $out;

sub put {
    my ($kind, $text) = @_;
    utf8::encode($text) if utf8::is_utf8($text);
    my $frame = $kind . pack('N', length $text) . $text;
    while (length $frame) {
        my $count = syswrite($out, $frame);
        exit 1 unless $count;
        substr($frame, 0, $count) = '';
    }
}

# What the program sends is its own, so it is not tainted, whatever -T thinks of a socket.
sub take {
    my ($wanted) = @_;
    my $text = '';
    while (length($text) < $wanted) {
        exit 0 unless sysread($in, $text, $wanted - length $text, length $text);
    }
    my ($clean) = $text =~ /\A(.*)\z/s;
    return $clean;
}

sub get {
    my ($kind, $length) = unpack('a1 N', take(5));
    return ($kind, take($length));
}

sub expand_string {
    put('X', "$_[0]");
    my ($kind, $text) = get();
    return undef if $kind eq 'U';
    if ($kind ne 'R') {
        my (undef, $file, $line) = caller;
        die "$text at $file line $line.\n";
    }
    return $text;
}

sub log_write { put('L', "$_[0]"); return; }
sub debug_write { put('W', "$_[0]"); return; }

$SIG{__WARN__} = sub { my $text = join '', @_; chomp $text; log_write($text); };

package main;

{
    my (undef, $startup) = Exim::get();
    eval "$startup\n;1" or Exim::put('D', "$@"), exit 1;
    Exim::put('R', '');
}

while (1) {
    my (undef, $frame) = Exim::get();
    my ($name, @arguments) = unpack('(N/a)*', $frame);
    my $result = eval { no strict 'refs'; scalar &{"main::$name"}(@arguments) };
    if ($@ ne '') { Exim::put('D', "$@") }
    elsif (defined $result) { Exim::put('R', "$result") }
    else { Exim::put('U', '') }
}
