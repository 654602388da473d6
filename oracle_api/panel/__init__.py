"""The pages under `/admin/oracle`: server-rendered, no inline style or script, light or dark as the system is."""
