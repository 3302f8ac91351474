package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/resolver"
)

const (
	// lookEvery is how often names are looked up again. A resolver that gRPC brings
	// does so when a connection breaks, which no new replica brings about.
	lookEvery = 2 * time.Second
	// lookTimeout bounds looking up all names once.
	lookTimeout = 2 * time.Second
)

// scheme is of targets that lookup resolves.
const scheme = "replicas"

// target is the gRPC target of an address as Dial takes it; one of another scheme
// is gRPC's own business.
func target(address string) (string, error) {
	if scheme, _, named := strings.Cut(address, "://"); named && !strings.HasPrefix(address, "dns:///") && resolver.Get(scheme) != nil {
		return address, nil
	}
	var all []string
	for one := range strings.SplitSeq(address, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "dns:///")
		host, port, err := net.SplitHostPort(one)
		if number, notOne := strconv.ParseUint(port, 10, 16); err != nil || host == "" || notOne != nil || number == 0 {
			return "", fmt.Errorf("%q: use host:port, dns:///host:port for all that a name stands for, or several separated by commas", address)
		}
		all = append(all, one)
	}
	return scheme + ":///" + strings.Join(all, ","), nil
}

// lookup makes resolvers of where the replicas of a program are.
type lookup struct{}

func (lookup) Scheme() string { return scheme }

func (lookup) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &replicas{conn: conn, now: make(chan struct{}, 1), cancel: cancel}
	for address := range strings.SplitSeq(target.Endpoint(), ",") {
		r.names = append(r.names, &name{address: address})
	}
	go r.run(ctx)
	return r, nil
}

// replicas tells a connection where a program is.
type replicas struct {
	names  []*name
	conn   resolver.ClientConn
	now    chan struct{}
	cancel context.CancelFunc
	told   []string
}

// name is a host:port, and where that was when it could last be looked up.
type name struct {
	address string
	at      []string
}

func (r *replicas) ResolveNow(resolver.ResolveNowOptions) {
	select {
	case r.now <- struct{}{}:
	default:
	}
}

func (r *replicas) Close() { r.cancel() }

func (r *replicas) run(ctx context.Context) {
	for look := time.NewTicker(lookEvery); ; {
		r.look(ctx)
		select {
		case <-ctx.Done():
			look.Stop()
			return
		case <-look.C:
		case <-r.now:
			// A connection that keeps breaking must not become a flood of questions.
			select {
			case <-ctx.Done():
			case <-time.After(lookEvery / 10):
			}
		}
	}
}

// look looks all names up, and tells when there is something new. Of a name that
// cannot be looked up now what was known stays: whoever answers for names may be
// away while the replicas are not.
func (r *replicas) look(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, lookTimeout)
	defer done()
	var found []string
	var failed error
	for _, n := range r.names {
		host, port, _ := net.SplitHostPort(n.address) // target saw to it
		addresses, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			failed = errors.Join(failed, err)
		} else {
			n.at = n.at[:0]
			for _, address := range addresses {
				n.at = append(n.at, net.JoinHostPort(address, port))
			}
		}
		found = append(found, n.at...)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		r.conn.ReportError(failed)
		return
	}
	if slices.Equal(found, r.told) {
		return
	}
	var state resolver.State
	for _, address := range found {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	if err := r.conn.UpdateState(state); err == nil {
		r.told = found
	}
}
