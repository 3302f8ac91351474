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

// programs maps every program in the contract to its name in certificates.
var programs = map[accesspb.Program]string{
	accesspb.Program_PROGRAM_WEB_TIER: transport.WebTier,
	accesspb.Program_PROGRAM_OPERATOR: transport.Operator,
}

// infrastructureServices can be called by every program: they describe the server and
// expose none of its data.
var infrastructureServices = []string{
	"grpc.health.v1.Health",
	"grpc.reflection.v1.ServerReflection",
	"grpc.reflection.v1alpha.ServerReflection",
}

// operationsRule is the access rule of google.longrunning.Operations (AIP-151), whose
// contract is Google's and cannot carry one: the programs that act on behalf of users.
var operationsRule = &accesspb.Rule{
	Programs: []accesspb.Program{accesspb.Program_PROGRAM_WEB_TIER, accesspb.Program_PROGRAM_OPERATOR},
	Person:   accesspb.Person_PERSON_ANYONE,
}

// operationsReads lists the read-only methods of that service.
var operationsReads = map[string]bool{"GetOperation": true, "ListOperations": true, "WaitOperation": true}

const operationsService = "google.longrunning.Operations"

// rule says which callers can call a method, and what kind of work the method does.
type rule struct {
	programs       []string
	signedIn       bool
	operator       bool
	infrastructure bool // describes the server: the session is not verified
	reads          bool // read-only
	password       bool // hashes a password
}

// accessRules reads the access rules of the registered methods from the contract.
// A method without a rule is an error, since it would otherwise be open to everyone.
func accessRules(services map[string]grpc.ServiceInfo) (map[string]rule, error) {
	all := map[string]rule{}
	for name, info := range services {
		for _, m := range info.Methods {
			full := "/" + name + "/" + m.Name
			if slices.Contains(infrastructureServices, name) {
				all[full] = rule{infrastructure: true, reads: true}
				continue
			}
			descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name + "." + m.Name))
			if err != nil {
				return nil, fmt.Errorf("method %s: %w", full, err)
			}
			declared, _ := proto.GetExtension(descriptor.Options(), accesspb.E_Rule).(*accesspb.Rule)
			if name == operationsService {
				declared = operationsRule
			}
			if declared.GetPerson() == accesspb.Person_PERSON_UNSPECIFIED {
				return nil, fmt.Errorf("method %s has no access rule: set (techtalks.access.v1.rule) in its .proto", full)
			}
			r := rule{
				signedIn: declared.Person == accesspb.Person_PERSON_SIGNED_IN,
				operator: declared.Person == accesspb.Person_PERSON_OPERATOR,
				programs: []string{caller.Module},
				reads:    transport.IsReadOnly(descriptor) || name == operationsService && operationsReads[m.Name],
			}
			if method, ok := descriptor.(protoreflect.MethodDescriptor); ok {
				r.password = transport.TakesPassword(method)
			}
			for _, p := range declared.Programs {
				program, known := programs[p]
				if !known {
					return nil, fmt.Errorf("method %s: its access rule names an unknown program: %s", full, p)
				}
				r.programs = append(r.programs, program)
			}
			all[full] = r
		}
	}
	return all, nil
}

var (
	errProgramUnknown   = apperror.New(apperror.Unauthenticated, "PROGRAM_UNKNOWN", "no trusted client certificate: connect with one issued by this system's authority")
	errProgramDenied    = apperror.New(apperror.Denied, "PROGRAM_DENIED", "this program is not allowed to call this method")
	errOperatorRequired = apperror.New(apperror.Denied, "OPERATOR_REQUIRED", "operator account required: add its handle to the logic tier's --operators")
	errSessionRequired  = apperror.New(apperror.Unauthenticated, "SESSION_REQUIRED", "session required: sign in and send the session token in the metadata key "+transport.SessionKey)
)
