"""What tests share: waiting, real servers, small captures."""
