"""WHAT TO DO: rules turn what is known of a user into pending actions."""
