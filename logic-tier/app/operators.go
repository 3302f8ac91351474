package app

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// parseOperators parses the list of operators' handles. It validates each against the
// contract's rule for handles, since no account could match an invalid one.
func parseOperators(list string) ([]string, error) {
	handles := splitList(list)
	for _, handle := range handles {
		account := &accountspb.SignUpRequest{Handle: handle, Password: strings.Repeat("*", 10)}
		var invalid *protovalidate.ValidationError
		if err := protovalidate.Validate(account); errors.As(err, &invalid) {
			return nil, fmt.Errorf("--operators (OPERATORS): invalid handle %q: %s", handle, invalid.Violations[0].Proto.GetMessage())
		} else if err != nil {
			return nil, err
		}
	}
	return handles, nil
}
