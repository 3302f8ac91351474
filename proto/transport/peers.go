package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Modules lists the modules of the logic tier. Each is a package of the contract; which
// process serves it is a matter of deployment.
var Modules = []string{"accounts", "talks", "following", "notifications", "media", "transfers", "operations", "queue"}

// Peers maps modules to addresses in the form that Dial accepts.
type Peers struct {
	defaultAddress string
	addresses      map[string]string // by module
}

// ParsePeers parses "address,module=address,...". The address without a module is the
// default, for all modules that are not named. An address can itself be several addresses
// separated by commas.
func ParsePeers(text string) (Peers, error) {
	p := Peers{addresses: map[string]string{}}
	module := ""
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if name, address, ok := strings.Cut(part, "="); ok {
			if !slices.Contains(Modules, name) {
				return Peers{}, fmt.Errorf("%q: there is no module %q; there are %s", text, name, strings.Join(Modules, ", "))
			}
			if p.addresses[name] != "" {
				return Peers{}, fmt.Errorf("%q names module %s twice: separate the addresses of a module by commas", text, name)
			}
			module, part = name, address
		}
		if _, err := target(part); err != nil {
			return Peers{}, err
		}
		if module == "" {
			p.defaultAddress = joinAddress(p.defaultAddress, part)
		} else {
			p.addresses[module] = joinAddress(p.addresses[module], part)
		}
	}
	return p, nil
}

func joinAddress(addresses, address string) string {
	if addresses == "" {
		return address
	}
	return addresses + "," + address
}

// Address returns the address of a module, or "" if there is neither one nor a default.
func (p Peers) Address(module string) string {
	if address := p.addresses[module]; address != "" {
		return address
	}
	return p.defaultAddress
}

// DefaultAddress returns the address of the modules that are not named.
func (p Peers) DefaultAddress() string { return p.defaultAddress }

// ModuleOf returns the module that a full method name belongs to.
func ModuleOf(method string) string {
	service := strings.TrimPrefix(method, "/")
	// Google's contract for long-running operations (AIP-151) has its own package.
	if strings.HasPrefix(service, "google.longrunning.") {
		return "operations"
	}
	module, _, _ := strings.Cut(strings.TrimPrefix(service, "techtalks."), ".")
	return module
}

// Router is a client connection that sends each call to the process that serves its module.
type Router struct {
	fallback grpc.ClientConnInterface            // for modules without an entry in modules
	modules  map[string]grpc.ClientConnInterface // by module
	dialed   []*grpc.ClientConn
}

// NewRouter returns a Router that routes calls according to p. It calls dial once for each
// distinct address.
func NewRouter(p Peers, dial func(address string) (*grpc.ClientConn, error)) (*Router, error) {
	r := &Router{modules: map[string]grpc.ClientConnInterface{}}
	dialed := map[string]*grpc.ClientConn{}
	connect := func(address string) (grpc.ClientConnInterface, error) {
		if connection := dialed[address]; connection != nil {
			return connection, nil
		}
		connection, err := dial(address)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		dialed[address] = connection
		r.dialed = append(r.dialed, connection)
		return connection, nil
	}
	var err error
	if p.defaultAddress != "" {
		if r.fallback, err = connect(p.defaultAddress); err != nil {
			return nil, err
		}
	}
	for _, module := range Modules {
		if address := p.addresses[module]; address != "" {
			if r.modules[module], err = connect(address); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// Route sends the calls of the given modules over connection, which Close does not close.
func (r *Router) Route(connection grpc.ClientConnInterface, modules ...string) {
	for _, module := range modules {
		r.modules[module] = connection
	}
}

// Ready returns an error unless every dialed process answers and is healthy (gRPC health
// checking protocol).
func (r *Router) Ready(ctx context.Context) error {
	for _, connection := range r.dialed {
		address := strings.TrimPrefix(connection.Target(), scheme+":///")
		response, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{})
		switch {
		case err != nil:
			return fmt.Errorf("%s does not answer or is not ready: see whether it runs there, and check its /readyz: %w", address, err)
		case response.Status != healthpb.HealthCheckResponse_SERVING:
			return fmt.Errorf("%s reports %s: check its /readyz", address, response.Status)
		}
	}
	return nil
}

// Close closes the dialed connections.
func (r *Router) Close() (err error) {
	for _, connection := range r.dialed {
		err = errors.Join(err, connection.Close())
	}
	return err
}

func (r *Router) connection(method string) (grpc.ClientConnInterface, error) {
	if connection := r.modules[ModuleOf(method)]; connection != nil {
		return connection, nil
	}
	if r.fallback == nil {
		return nil, status.Errorf(codes.Unimplemented, "no address is set for module %s", ModuleOf(method))
	}
	return r.fallback, nil
}

// Invoke makes a unary call.
func (r *Router) Invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	connection, err := r.connection(method)
	if err != nil {
		return err
	}
	return connection.Invoke(ctx, method, request, response, options...)
}

// NewStream opens a stream.
func (r *Router) NewStream(ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	connection, err := r.connection(method)
	if err != nil {
		return nil, err
	}
	return connection.NewStream(ctx, description, method, options...)
}
