package app

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// operators reads whose accounts are operators'. A handle that no account can have is
// refused, by the contract's own rule: nobody would ever be who it names.
func operators(text string) ([]string, error) {
	all := names(text)
	for _, handle := range all {
		someone := &accountspb.SignUpRequest{Handle: handle, Password: strings.Repeat("*", 10)}
		var broken *protovalidate.ValidationError
		if err := protovalidate.Validate(someone); errors.As(err, &broken) {
			return nil, fmt.Errorf("--operators (OPERATORS): no account can have the handle %q: %s", handle, broken.Violations[0].Proto.GetMessage())
		} else if err != nil {
			return nil, err
		}
	}
	return all, nil
}
