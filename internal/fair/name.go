package fair

import "context"

type nameKey struct{}

// As makes a context that waits at gates in a name.
func As(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, nameKey{}, who)
}

// Name is in whose name a context waits; "" where nobody has said.
func Name(ctx context.Context) string {
	who, _ := ctx.Value(nameKey{}).(string)
	return who
}
