package accounts

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/caller"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

// tokenOf returns the session token in a call's metadata, or "" if there is none.
func tokenOf(ctx context.Context) (token string) {
	for _, token = range metadata.ValueFromIncomingContext(ctx, transport.SessionKey) {
	}
	return token
}

func (s service) ChangePassword(ctx context.Context, r *accountspb.ChangePasswordRequest) (*accountspb.ChangePasswordResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	return &accountspb.ChangePasswordResponse{}, s.module.changePassword(ctx, person.ID, tokenOf(ctx), r.CurrentPassword, r.NewPassword)
}

func (s service) ListSessions(ctx context.Context, _ *accountspb.ListSessionsRequest) (*accountspb.ListSessionsResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	sessions, err := s.module.store.sessions(ctx, person.ID, digest(tokenOf(ctx)))
	if err != nil {
		return nil, err
	}
	response := &accountspb.ListSessionsResponse{}
	for _, one := range sessions {
		response.Sessions = append(response.Sessions, &accountspb.SessionSummary{
			Name: fmt.Sprintf("sessions/%d", one.number), UserAgent: one.userAgent, CreateTime: timestamppb.New(one.created),
			UseTime: timestamppb.New(one.used), ExpireTime: timestamppb.New(one.expires), Current: one.current,
		})
	}
	return response, nil
}

func (s service) RevokeSession(ctx context.Context, r *accountspb.RevokeSessionRequest) (*accountspb.RevokeSessionResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	number, err := strconv.ParseInt(strings.TrimPrefix(r.Name, "sessions/"), 10, 64)
	if err != nil {
		return nil, err // only for numbers out of range: the contract's pattern has been validated
	}
	return &accountspb.RevokeSessionResponse{}, s.module.store.revokeSession(ctx, person.ID, number)
}

func (s service) SignOutEverywhere(ctx context.Context, _ *accountspb.SignOutEverywhereRequest) (*accountspb.SignOutEverywhereResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	return &accountspb.SignOutEverywhereResponse{}, s.module.store.removeAllSessions(ctx, s.module.deps.DB, person.ID)
}

func (s service) CloseAccount(ctx context.Context, r *accountspb.CloseAccountRequest) (*accountspb.CloseAccountResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	return &accountspb.CloseAccountResponse{}, s.module.closeAccount(ctx, person.ID, r.Password)
}

func (s service) CheckSessions(ctx context.Context, r *accountspb.CheckSessionsRequest) (*accountspb.CheckSessionsResponse, error) {
	ended, err := s.module.store.endedSessions(ctx, r.SessionIds)
	return &accountspb.CheckSessionsResponse{EndedSessionIds: ended}, err
}
