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

// Modules are the logic tier's: each is a package of the contract, and which
// process answers for it is a matter of deployment.
var Modules = []string{"accounts", "talks", "following", "notifications", "media", "transfers", "operations", "queue"}

// Peers says where modules are: an address as Dial takes it for all of them, and
// others for some.
type Peers struct {
	others string
	at     map[string]string
}

// ParsePeers reads "address,module=address,...": the address without a module is
// that of all modules which are not named. An address may itself be several
// separated by commas.
func ParsePeers(text string) (Peers, error) {
	p := Peers{at: map[string]string{}}
	module := ""
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if name, address, named := strings.Cut(part, "="); named {
			if !slices.Contains(Modules, name) {
				return Peers{}, fmt.Errorf("%q: there is no module %q; there are %s", text, name, strings.Join(Modules, ", "))
			}
			if p.at[name] != "" {
				return Peers{}, fmt.Errorf("%q names %s twice: separate the addresses of one module by commas", text, name)
			}
			module, part = name, address
		}
		if _, err := target(part); err != nil {
			return Peers{}, err
		}
		if module == "" {
			p.others = joined(p.others, part)
		} else {
			p.at[module] = joined(p.at[module], part)
		}
	}
	return p, nil
}

func joined(addresses, one string) string {
	if addresses == "" {
		return one
	}
	return addresses + "," + one
}

// Address returns where a module is; empty when that is not said.
func (p Peers) Address(module string) string {
	if at := p.at[module]; at != "" {
		return at
	}
	return p.others
}

// Others returns where the modules are that are not named.
func (p Peers) Others() string { return p.others }

// ModuleOf returns the module that a full method name belongs to.
func ModuleOf(method string) string {
	service := strings.TrimPrefix(method, "/")
	// Google's contract of handles (AIP-151) has a package of its own.
	if strings.HasPrefix(service, "google.longrunning.") {
		return "operations"
	}
	module, _, _ := strings.Cut(strings.TrimPrefix(service, "techtalks."), ".")
	return module
}

// Split is a connection that brings each call to whoever answers for its module.
type Split struct {
	others grpc.ClientConnInterface
	at     map[string]grpc.ClientConnInterface
	opened []*grpc.ClientConn
}

// NewSplit returns a connection whose calls go where p says. dial makes a
// connection to an address; there is one for each.
func NewSplit(p Peers, dial func(address string) (*grpc.ClientConn, error)) (*Split, error) {
	s := &Split{at: map[string]grpc.ClientConnInterface{}}
	dialled := map[string]*grpc.ClientConn{}
	open := func(address string) (grpc.ClientConnInterface, error) {
		if known := dialled[address]; known != nil {
			return known, nil
		}
		connection, err := dial(address)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		dialled[address] = connection
		s.opened = append(s.opened, connection)
		return connection, nil
	}
	var err error
	if p.others != "" {
		if s.others, err = open(p.others); err != nil {
			return nil, err
		}
	}
	for _, module := range Modules {
		if address := p.at[module]; address != "" {
			if s.at[module], err = open(address); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// Here has the calls of some modules go to a connection of the caller's own.
func (s *Split) Here(connection grpc.ClientConnInterface, modules ...string) {
	for _, module := range modules {
		s.at[module] = connection
	}
}

// Ready says whether everybody that was dialled answers, and can do its work (gRPC health
// checking protocol).
func (s *Split) Ready(ctx context.Context) error {
	for _, one := range s.opened {
		at := strings.TrimPrefix(one.Target(), scheme+":///")
		answer, err := healthpb.NewHealthClient(one).Check(ctx, &healthpb.HealthCheckRequest{})
		switch {
		case err != nil:
			return fmt.Errorf("%s does not answer, or is not ready: see whether it runs there, and its own /readyz: %w", at, err)
		case answer.Status != healthpb.HealthCheckResponse_SERVING:
			return fmt.Errorf("%s says %s: see its own /readyz", at, answer.Status)
		}
	}
	return nil
}

// Close closes the connections that were dialled.
func (s *Split) Close() (err error) {
	for _, one := range s.opened {
		err = errors.Join(err, one.Close())
	}
	return err
}

func (s *Split) to(method string) (grpc.ClientConnInterface, error) {
	if at := s.at[ModuleOf(method)]; at != nil {
		return at, nil
	}
	if s.others == nil {
		return nil, status.Errorf(codes.Unimplemented, "nobody is named to answer for the module %s", ModuleOf(method))
	}
	return s.others, nil
}

// Invoke makes a unary call.
func (s *Split) Invoke(ctx context.Context, method string, request, response any, options ...grpc.CallOption) error {
	at, err := s.to(method)
	if err != nil {
		return err
	}
	return at.Invoke(ctx, method, request, response, options...)
}

// NewStream begins a stream.
func (s *Split) NewStream(ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	at, err := s.to(method)
	if err != nil {
		return nil, err
	}
	return at.NewStream(ctx, description, method, options...)
}
