package web

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"plumb.dev/plumb/fault"
)

// Dial opens a connection, but not to an address at which only the keepers of
// a machine answer: link-local ones, where clouds give credentials to whoever
// asks, the few others that clouds use for that, and those that name nobody. The
// address is looked at when the connection is made, so it does not matter which
// name led there.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialer.DialContext(ctx, network, address)
}

var dialer = &net.Dialer{
	Timeout: 15 * time.Second, KeepAlive: 30 * time.Second,
	Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return refuse(at.Addr())
	},
}

// refuseLiteral refuses a host that is such an address itself, for where a
// proxy makes the connection.
func refuseLiteral(host string) error {
	at, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return refuse(at)
}

func refuse(at netip.Addr) error {
	if !kept(at) {
		return nil
	}
	f := Failure(ReasonAddressRefused, "%s is an address of the machine's own keepers", at)
	f.Next, f.Hint = fault.Retry, "use an address of a server"
	return f
}

// Where clouds answer their own machines, beside link-local addresses.
var keepers = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
	netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
	netip.MustParsePrefix("fd00:ec2::23/128"),   // AWS, for pods
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
	netip.MustParsePrefix("fd00:42::42/128"),    // Scaleway
}

// kept reports whether only keepers answer at an address, also if it is an
// IPv4 address in one of the forms that IPv6 has for them.
func kept(at netip.Addr) bool {
	at = at.WithZone("").Unmap()
	if v4, ok := embedded(at); ok && kept(v4) {
		return true
	}
	if at.IsLinkLocalUnicast() || at.IsMulticast() || at.IsUnspecified() || at == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	for _, p := range keepers {
		if p.Contains(at) {
			return true
		}
	}
	return false
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
	compat    = netip.MustParsePrefix("::/96")
)

func embedded(at netip.Addr) (netip.Addr, bool) {
	if !at.Is6() {
		return at, false
	}
	b := at.As16()
	switch {
	case sixToFour.Contains(at):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case nat64.Contains(at), compat.Contains(at) && !at.IsLoopback():
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return at, false
}
