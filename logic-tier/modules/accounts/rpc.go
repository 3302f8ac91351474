package accounts

import (
	"context"
	"slices"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/caller"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

type service struct {
	accountspb.UnimplementedAccountsServer
	module *Module
}

func (m *Module) message(a account) *accountspb.Account {
	return &accountspb.Account{
		Name: "accounts/" + a.handle, Id: a.id, Handle: a.handle,
		DisplayName: a.displayName, CreateTime: timestamppb.New(a.created),
		Operator: slices.Contains(m.deps.Operators, a.handle),
	}
}

func (m *Module) session(s session) *accountspb.Session {
	return &accountspb.Session{Token: s.token, ExpireTime: timestamppb.New(s.expires), Account: m.message(s.account)}
}

func (s service) SignUp(ctx context.Context, r *accountspb.SignUpRequest) (*accountspb.SignUpResponse, error) {
	opened, err := s.module.signUp(ctx, r.Handle, r.DisplayName, r.Password, caller.From(ctx).Address, browserOf(r))
	if err != nil {
		return nil, err
	}
	return &accountspb.SignUpResponse{Session: s.module.session(opened)}, nil
}

func (s service) SignIn(ctx context.Context, r *accountspb.SignInRequest) (*accountspb.SignInResponse, error) {
	opened, err := s.module.signIn(ctx, r.Handle, r.Password, caller.From(ctx).Address, browserOf(r))
	if err != nil {
		return nil, err
	}
	return &accountspb.SignInResponse{Session: s.module.session(opened)}, nil
}

func (s service) SignOut(ctx context.Context, _ *accountspb.SignOutRequest) (*accountspb.SignOutResponse, error) {
	for _, token := range metadata.ValueFromIncomingContext(ctx, transport.SessionKey) {
		if err := s.module.closeSession(ctx, token); err != nil {
			return nil, err
		}
	}
	return &accountspb.SignOutResponse{}, nil
}

// GetCurrentAccount looks the session up again: the call's context identifies the caller
// only by id and handle.
func (s service) GetCurrentAccount(ctx context.Context, _ *accountspb.GetCurrentAccountRequest) (*accountspb.GetCurrentAccountResponse, error) {
	a, _, err := s.module.verify(ctx, tokenOf(ctx))
	if err != nil {
		return nil, err
	}
	return &accountspb.GetCurrentAccountResponse{Account: s.module.message(a)}, nil
}

func (s service) VerifySession(ctx context.Context, r *accountspb.VerifySessionRequest) (*accountspb.VerifySessionResponse, error) {
	a, number, err := s.module.verify(ctx, r.Token)
	if err != nil {
		return nil, err
	}
	return &accountspb.VerifySessionResponse{Account: s.module.message(a), SessionId: number}, nil
}
