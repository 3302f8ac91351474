package server

import (
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	accesspb "techtalks.example/proto/techtalks/access/v1"
	"techtalks.example/proto/transport"
)

// programs is the whole table from the contract's programs to the names in
// certificates.
var programs = map[accesspb.Program]string{
	accesspb.Program_PROGRAM_WEB_TIER: transport.WebTier,
	accesspb.Program_PROGRAM_OPERATOR: transport.Operator,
}

// standard are the services every program may call: they tell about the server
// and nothing about its data.
var standard = []string{
	"grpc.health.v1.Health",
	"grpc.reflection.v1.ServerReflection",
	"grpc.reflection.v1alpha.ServerReflection",
}

// handles is the service whose contract is Google's and cannot say who may call
// it (AIP-151): the programs that people use, on their behalf.
var handles = &accesspb.Rule{
	Programs: []accesspb.Program{accesspb.Program_PROGRAM_WEB_TIER, accesspb.Program_PROGRAM_OPERATOR},
	Person:   accesspb.Person_PERSON_ANYONE,
}

// handleReads are the methods of that service that change nothing.
var handleReads = map[string]bool{"GetOperation": true, "ListOperations": true, "WaitOperation": true}

const handlesService = "google.longrunning.Operations"

// rule is who may call a method.
type rule struct {
	programs []string
	signedIn bool
	operator bool
	standard bool // tells about the server: not even a session is looked at
	reads    bool // changes nothing
	password bool // hashes a password
}

// rules reads who may call which of the registered methods from the contract.
// A method that does not say is an error: silence would be a permission.
func rules(services map[string]grpc.ServiceInfo) (map[string]rule, error) {
	all := map[string]rule{}
	for name, info := range services {
		for _, m := range info.Methods {
			full := "/" + name + "/" + m.Name
			if slices.Contains(standard, name) {
				all[full] = rule{standard: true, reads: true}
				continue
			}
			found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name + "." + m.Name))
			if err != nil {
				return nil, fmt.Errorf("method %s: %w", full, err)
			}
			said, _ := proto.GetExtension(found.Options(), accesspb.E_Rule).(*accesspb.Rule)
			if name == handlesService {
				said = handles
			}
			if said.GetPerson() == accesspb.Person_PERSON_UNSPECIFIED {
				return nil, fmt.Errorf("method %s has no (techtalks.access.v1.rule): say in its .proto who may call it", full)
			}
			r := rule{
				signedIn: said.Person == accesspb.Person_PERSON_SIGNED_IN,
				operator: said.Person == accesspb.Person_PERSON_OPERATOR,
				programs: []string{caller.Module},
				reads:    transport.IsReadOnly(found) || name == handlesService && handleReads[m.Name],
			}
			if method, ok := found.(protoreflect.MethodDescriptor); ok {
				r.password = transport.TakesPassword(method)
			}
			for _, p := range said.Programs {
				program, known := programs[p]
				if !known {
					return nil, fmt.Errorf("method %s: its rule names a program that is not known: %s", full, p)
				}
				r.programs = append(r.programs, program)
			}
			all[full] = r
		}
	}
	return all, nil
}

var (
	errNoProgram  = apperror.New(apperror.Unauthenticated, "PROGRAM_UNKNOWN", "connect with a client certificate of this system's authority")
	errProgram    = apperror.New(apperror.Denied, "PROGRAM_DENIED", "this program's certificate may not call this method")
	errNoOperator = apperror.New(apperror.Denied, "OPERATOR_REQUIRED", "this is for operators: the logic tier's --operators names whose accounts are")
	errNoSession  = apperror.New(apperror.Unauthenticated, "SESSION_REQUIRED", "sign in, and send the session token in the metadata "+transport.SessionKey)
)
