// Package demo loads a small catalogue, recordings and two accounts into a demo site.
package demo

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
)

const timeout = time.Minute

// The demo accounts. The README and the sign-in page publish their passwords.
const adaHandle, graceHandle = "ada", "grace"

var passwords = map[string]string{adaHandle: "ada-ada-ada", graceHandle: "grace-grace-grace"}

// dial connects to the logic tier as an operator.
func dial(logicAddress, certificates string) (*grpc.ClientConn, error) {
	credentials, err := transport.ClientCredentials(certificates, transport.Operator, transport.LogicTier)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(logicAddress, grpc.WithTransportCredentials(credentials))
}

// CheckAbsent returns an error if a demo account can sign in with its published password. A
// site that is not a demo must then not be exposed to browsers.
func CheckAbsent(ctx context.Context, logicAddress, certificates string) error {
	ctx, done := context.WithTimeout(ctx, timeout)
	defer done()
	connection, err := dial(logicAddress, certificates)
	if err != nil {
		return err
	}
	defer connection.Close()
	accounts := accountspb.NewAccountsClient(connection)
	for handle, password := range passwords {
		response, err := accounts.SignIn(ctx, &accountspb.SignInRequest{Handle: handle, Password: password})
		switch {
		case err == nil:
			_, _ = accounts.SignOut(metadata.AppendToOutgoingContext(ctx, transport.SessionKey, response.Session.Token), &accountspb.SignOutRequest{})
			return fmt.Errorf("the demo account %q still has its published password; delete the site's data, or set DEMO=true to run a demo site", handle)
		// Attempts without a client address are counted together, and all come from this
		// check, with a wrong password. A site that restarts often must still start.
		case reason(err) != "WRONG_CREDENTIALS" && reason(err) != "TOO_MANY_ATTEMPTS":
			return fmt.Errorf("check that the demo account %q does not exist: %w", handle, err)
		}
	}
	return nil
}

// Load imports the catalogue in a folder and creates the demo accounts. It does so as any
// operator would: over gRPC, with talksctl and the operator's certificate. Load is idempotent.
func Load(ctx context.Context, talksctl, logicAddress, certificates, catalogue string) error {
	ctx, done := context.WithTimeout(ctx, timeout)
	defer done()
	command := exec.CommandContext(ctx, talksctl, "import", "--logic-address", logicAddress, "--certificates", certificates, catalogue)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("import the catalogue: %w\n%s", err, output)
	}
	connection, err := dial(logicAddress, certificates)
	if err != nil {
		return err
	}
	defer connection.Close()
	ada, err := account(ctx, connection, adaHandle, "Ada Lovelace")
	if err != nil {
		return fmt.Errorf("demo account ada: %w", err)
	}
	grace, err := account(ctx, connection, graceHandle, "Grace Hopper")
	if err != nil {
		return fmt.Errorf("demo account grace: %w", err)
	}
	if _, err := talkspb.NewChannelsClient(connection).CreateChannel(ada, &talkspb.CreateChannelRequest{
		ChannelId: "adas-notebook", Title: "Ada's Notebook", Description: "Notes on engines, and on what they might do.",
	}); err != nil && status.Code(err) != codes.AlreadyExists {
		return fmt.Errorf("demo channel: %w", err)
	}
	for _, channel := range []string{"adas-notebook", "backend-north-2026", "queue-summit-2025"} {
		if _, err := followingpb.NewFollowingClient(connection).Follow(grace, &followingpb.FollowRequest{Channel: "channels/" + channel}); err != nil {
			return fmt.Errorf("follow %s: %w", channel, err)
		}
	}
	return publish(ada, connection)
}

// notebook is the channel of ada.
const notebook = "channels/adas-notebook"

// publish publishes a talk as ada, unless it exists, so that the inbox of grace is not empty.
func publish(ada context.Context, connection grpc.ClientConnInterface) error {
	const channel, title = notebook, "Notes by the translator"
	talks := talkspb.NewTalksClient(connection)
	_, err := talks.GetTalk(ada, &talkspb.GetTalkRequest{Name: channel + "/talks/notes-by-the-translator"})
	if status.Code(err) == codes.NotFound {
		if reason(err) == "TALK_WITHDRAWN" {
			return nil // a visitor of the demo withdrew it
		}
		_, err = talks.CreateTalk(ada, &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{
			Title: title, Speakers: []string{"Ada Lovelace"}, Language: "eng", Tags: []string{"history", "algorithms"},
			Description: "Seven notes to a paper on an engine that was never built, longer than the paper.\n\n" +
				"*Note G* says step by step how the engine would compute the Bernoulli numbers: the talk walks through it, and through the one bug in it.",
		}})
	}
	if err != nil {
		return fmt.Errorf("demo talk: %w", err)
	}
	return nil
}

// reason returns the reason code of a failed call, or an empty string.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// account signs in to a demo account, which it creates if necessary, and returns a context for
// calls as that account.
func account(ctx context.Context, connection grpc.ClientConnInterface, handle, name string) (context.Context, error) {
	accounts := accountspb.NewAccountsClient(connection)
	signIn, err := accounts.SignIn(ctx, &accountspb.SignInRequest{Handle: handle, Password: passwords[handle]})
	session := signIn.GetSession()
	if status.Code(err) == codes.Unauthenticated {
		var signUp *accountspb.SignUpResponse
		signUp, err = accounts.SignUp(ctx, &accountspb.SignUpRequest{Handle: handle, DisplayName: name, Password: passwords[handle]})
		session = signUp.GetSession()
	}
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, transport.SessionKey, session.Token), nil
}
