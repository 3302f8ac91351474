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
	// resolveInterval is how often names are resolved. gRPC's own DNS resolver does so when
	// a connection breaks, and would not discover a new replica.
	resolveInterval = 2 * time.Second
	// resolveTimeout bounds resolving all names once.
	resolveTimeout = 2 * time.Second
)

// scheme is the scheme of the targets that replicaBuilder resolves.
const scheme = "replicas"

// target returns the gRPC target of an address in the form that Dial accepts. An address
// with another scheme that gRPC knows is returned unchanged.
func target(address string) (string, error) {
	if scheme, _, ok := strings.Cut(address, "://"); ok && !strings.HasPrefix(address, "dns:///") && resolver.Get(scheme) != nil {
		return address, nil
	}
	var endpoints []string
	for endpoint := range strings.SplitSeq(address, ",") {
		endpoint = strings.TrimPrefix(strings.TrimSpace(endpoint), "dns:///")
		host, port, err := net.SplitHostPort(endpoint)
		if number, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || number == 0 {
			return "", fmt.Errorf("%q: use host:port, dns:///host:port for all addresses of a name, or several separated by commas", address)
		}
		endpoints = append(endpoints, endpoint)
	}
	return scheme + ":///" + strings.Join(endpoints, ","), nil
}

// replicaBuilder builds resolvers that find the replicas of a program.
type replicaBuilder struct{}

func (replicaBuilder) Scheme() string { return scheme }

func (replicaBuilder) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &replicaResolver{conn: conn, resolveNow: make(chan struct{}, 1), cancel: cancel}
	for endpoint := range strings.SplitSeq(target.Endpoint(), ",") {
		r.names = append(r.names, &name{endpoint: endpoint})
	}
	go r.run(ctx)
	return r, nil
}

// replicaResolver updates a connection with the addresses of a program's replicas.
type replicaResolver struct {
	names      []*name
	conn       resolver.ClientConn
	resolveNow chan struct{}
	cancel     context.CancelFunc
	reported   []string // the addresses last sent to conn
}

// name is a host:port, and the addresses that it last resolved to.
type name struct {
	endpoint  string
	addresses []string
}

func (r *replicaResolver) ResolveNow(resolver.ResolveNowOptions) {
	select {
	case r.resolveNow <- struct{}{}:
	default:
	}
}

func (r *replicaResolver) Close() { r.cancel() }

func (r *replicaResolver) run(ctx context.Context) {
	for ticker := time.NewTicker(resolveInterval); ; {
		r.resolve(ctx)
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
		case <-r.resolveNow:
			// A connection that keeps breaking must not flood the name server.
			select {
			case <-ctx.Done():
			case <-time.After(resolveInterval / 10):
			}
		}
	}
}

// resolve resolves all names, and updates the connection if the addresses have changed. A
// name that cannot be resolved keeps its addresses: the name server can be unavailable while
// the replicas are not.
func (r *replicaResolver) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	var found []string
	var failed error
	for _, n := range r.names {
		host, port, _ := net.SplitHostPort(n.endpoint) // validated by target
		addresses, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			failed = errors.Join(failed, err)
		} else {
			n.addresses = n.addresses[:0]
			for _, address := range addresses {
				n.addresses = append(n.addresses, net.JoinHostPort(address, port))
			}
		}
		found = append(found, n.addresses...)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		r.conn.ReportError(failed)
		return
	}
	if slices.Equal(found, r.reported) {
		return
	}
	var state resolver.State
	for _, address := range found {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	if err := r.conn.UpdateState(state); err == nil {
		r.reported = found
	}
}
